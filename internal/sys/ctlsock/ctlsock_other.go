//go:build !unix || aix

package ctlsock

import (
	"errors"
	"os"
)

func pair() (ours, theirs *os.File, err error) { return nil, nil, errors.ErrUnsupported }

func conn(fd int) *os.File { return os.NewFile(uintptr(fd), "socket") }

func markOf(*os.File) (string, error) { return "", errors.ErrUnsupported }

func isMarked(int, string) bool { return false }

func madeByUs(int) bool { return false }

func isGone(int) bool { return true }

func setNonblock(*os.File) error { return errors.ErrUnsupported }

func closeRead(*os.File) error { return errors.ErrUnsupported }

func closeWrite(*os.File) error { return errors.ErrUnsupported }
