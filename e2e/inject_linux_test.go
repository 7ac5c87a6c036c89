//go:build !amd64

package e2e

import "syscall"

const canInject = false // the registers are others

func skipCall(int) {}

func failCall(int, syscall.Errno) {}
