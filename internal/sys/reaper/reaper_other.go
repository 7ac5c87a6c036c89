//go:build !linux

package reaper

import (
	"syscall"
	"time"
)

func reap() []int { return nil }

func eachOrphan(func(Orphan)) error { return nil }

func kill(time.Time) error { return nil }

func (o Orphan) signal(syscall.Signal) error { return syscall.ENOSYS }
