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

func otherRecord(*os.File) (pid int, held bool) { return 0, false }

func lockOwner(fs.FileInfo) (pid int) { return 0 }
