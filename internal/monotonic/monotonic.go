// Package monotonic is a clock that never jumps and is the same for every process of a machine, unlike the monotonic reading in a
// time.Time, which means something in its own process only.
package monotonic

import "time"

// Now is the time since a fixed moment of this boot: CLOCK_MONOTONIC of clock_gettime(2). Where the system has no such clock, it is the time
// of day, which can jump. A process in a time namespace of its own has a moment of its own (time_namespaces(7)).
func Now() time.Duration { return now() }
