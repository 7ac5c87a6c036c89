//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package filelock

import (
	"errors"
	"io/fs"
	"os"
)

func lockPresence(*os.File) error { return errors.ErrUnsupported }

func lockOwnership(*os.File) error { return errors.ErrUnsupported }

func lockRequest(*os.File) error { return errors.ErrUnsupported }

func hasRequest(*os.File) bool { return false }

func inspect(f *os.File, ifFree func()) (State, error) {
	held, err := probe(f, ifFree)
	return State{Held: held, NoMarks: true}, err
}

func otherRecord(*os.File) (pid int, held bool) { return 0, false }

func lockOwner(fs.FileInfo) (pid int) { return 0 }
