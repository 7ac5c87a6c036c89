//go:build !unix || aix

package openfile

import (
	"errors"
	"os"
)

func same(a, b *os.File) bool { return a == b }

func duplicate(*os.File, string) (*os.File, error) { return nil, errors.ErrUnsupported }
