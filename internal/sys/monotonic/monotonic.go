// Package monotonic provides a clock that never jumps and is the same in all processes of a
// machine. The monotonic reading of a time.Time is valid only in its own process.
package monotonic

import "time"

// Now returns the time since a fixed moment of this boot: CLOCK_MONOTONIC of clock_gettime(2). If
// the system has no such clock, Now returns the time of day, which can jump. In another time
// namespace, the fixed moment differs (time_namespaces(7)).
func Now() time.Duration { return now() }
