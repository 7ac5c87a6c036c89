//go:build !linux

package proc

import (
	"os"
	"syscall"
)

func name(int) string { return "" }

func catches(int, os.Signal) bool { return false }

func kill(int, syscall.Signal) {}
