// Package monotonic provides a clock that never jumps and is the same in all processes of a
// machine. The monotonic reading of a time.Time is valid only in its own process.
package monotonic

import "time"

// Now returns the time since a fixed moment of this boot: CLOCK_MONOTONIC of clock_gettime(2). If
// the system has no such clock, Now returns the time of day, which can jump. In another time
// namespace, the fixed moment differs (time_namespaces(7)).
func Now() time.Duration { return now() }

// Boottime returns the same as Now, plus the time in which the machine was suspended, if the system
// reports that time.
func Boottime() time.Duration { return boottime() }

// Clock returns a text that identifies these clocks: the boot, and the time namespace. Values of
// two processes can be compared if both have the same text. Clock returns "" if the clocks are
// unknown.
func Clock() string { return clockID() }
