//go:build unix && !aix && !netbsd

package monotonic

import "golang.org/x/sys/unix"

const clock = unix.CLOCK_MONOTONIC
