//go:build !linux

package pin

import (
	"errors"
	"io/fs"
)

func hasOpen(int, fs.FileInfo) (bool, error) { return false, errors.ErrUnsupported }
