//go:build !unix || aix

package ossignal

import "syscall"

func name(sig syscall.Signal) string { return sig.String() }
