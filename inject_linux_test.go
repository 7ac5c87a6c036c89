//go:build !amd64

package lifecycle

import "syscall"

const canInject = false // the registers are others

func skipCall(int) {}

func failCall(int, syscall.Errno) {}
