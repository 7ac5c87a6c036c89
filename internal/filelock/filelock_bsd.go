//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package filelock

import (
	"errors"
	"io/fs"
	"os"
)

func mark(*os.File) error { return errors.ErrUnsupported }

func name(*os.File) error { return errors.ErrUnsupported }

func look(f *os.File, ifFree func()) (State, error) {
	held, err := glance(f, ifFree)
	return State{Held: held, Blind: true}, err
}

func taker(fs.FileInfo) (pid int) { return 0 }
