package activation

import (
	"io/fs"
	"os"
)

// File returns the file at path if f was bound to that socket file, else nil. If the kernel does
// not report the file to which f was bound, File returns any socket file at path.
func File(f *os.File, path string) fs.FileInfo {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket || !isBoundTo(f, info) {
		return nil
	}
	return info
}
