package activation

import (
	"io/fs"
	"os"
)

// File returns the file at path if it is the socket file to which f was bound, else nil. If the kernel does
// not say to which one it was, File returns any socket file.
func File(f *os.File, path string) fs.FileInfo {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket || !isBoundTo(f, info) {
		return nil
	}
	return info
}
