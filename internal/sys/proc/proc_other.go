//go:build !linux

package proc

import "os"

func name(int) string { return "" }

func catches(int, os.Signal) bool { return false }
