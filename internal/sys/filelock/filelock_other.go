//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package filelock

import (
	"errors"
	"io/fs"
	"os"
)

func tryLock(*os.File) error { return errors.ErrUnsupported }

func lockPresence(*os.File) error { return errors.ErrUnsupported }

func lockOwnership(*os.File) error { return errors.ErrUnsupported }

func lockRequest(*os.File) error { return errors.ErrUnsupported }

func hasRequest(*os.File) bool { return false }

func inspect(*os.File, func()) (State, error) { return State{}, errors.ErrUnsupported }

func lockOwner(fs.FileInfo) (pid int) { return 0 }
