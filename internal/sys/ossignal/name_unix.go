//go:build unix && !aix

package ossignal

import (
	"cmp"
	"syscall"

	"golang.org/x/sys/unix"
)

func name(sig syscall.Signal) string { return cmp.Or(unix.SignalName(sig), sig.String()) }
