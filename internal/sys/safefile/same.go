package safefile

import (
	"os"
	"path/filepath"
)

// SamePath reports whether both paths name the same entry of the same directory, whether it exists
// or not. /run/x and /var/run/x are one, where /var/run is a link. SamePath looks at the disk only
// if the last elements are equal.
func SamePath(path, other string) bool {
	if filepath.Base(path) != filepath.Base(other) {
		return false
	}
	dir, otherDir := filepath.Dir(path), filepath.Dir(other)
	return dir == otherDir || SameFile(dir, otherDir)
}

// SameFile reports whether both paths lead to the same existing file, by links or by another name
// of it.
func SameFile(path, other string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	otherInfo, err := os.Stat(other)
	return err == nil && os.SameFile(info, otherInfo)
}
