//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package filelock

import (
	"errors"
	"io/fs"
	"os"
)

func tryLock(*os.File) error { return errors.ErrUnsupported }

func mark(*os.File) error { return errors.ErrUnsupported }

func name(*os.File) error { return errors.ErrUnsupported }

func look(*os.File, func()) (State, error) { return State{}, errors.ErrUnsupported }

func taker(fs.FileInfo) (pid int) { return 0 }
