// Package monotonic provides a clock that never jumps and is the same in all processes of a
// machine. The monotonic reading of a time.Time is valid only in its own process.
package monotonic

import "time"

// Now returns the time since a fixed moment of this boot: CLOCK_MONOTONIC of clock_gettime(2). If
// the system has no such clock, Now returns the time of day, which can jump. In another time
// namespace, the fixed moment differs (time_namespaces(7)).
func Now() time.Duration { return now() }

// Boottime is like Now, but it also counts the time in which the machine was suspended, if the
// system can tell.
func Boottime() time.Duration { return boottime() }

// Clock returns a text that identifies these clocks: the boot, and the time namespace. Values of
// two processes can be compared if the text is the same in both. It is "" if that is unknown.
func Clock() string { return clockID() }
