//go:build !linux

package activation

import (
	"io/fs"
	"os"
)

func isBoundTo(*os.File, fs.FileInfo) bool { return true }
