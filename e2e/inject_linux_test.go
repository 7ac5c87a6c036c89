//go:build !amd64

package e2e

import "syscall"

const canInject = false // this architecture has other registers

func skipCall(int) {}

func failCall(int, syscall.Errno) {}
