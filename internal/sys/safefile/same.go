package safefile

import (
	"io/fs"
	"os"
	"path/filepath"
)

// SamePath reports whether both paths name the same entry of the same directory. The entry need not
// exist. /run/x and /var/run/x are the same entry if /var/run is a link to /run. SamePath reads the
// disk only if the last elements are equal.
func SamePath(path, other string) bool {
	if filepath.Base(path) != filepath.Base(other) {
		return false
	}
	dir, otherDir := filepath.Dir(path), filepath.Dir(other)
	return dir == otherDir || sameBy(os.Stat, dir, otherDir)
}

// SameFile reports whether both paths are names of one existing file. It follows no link at the end
// of a path, because no file of a daemon may be a link.
func SameFile(path, other string) bool { return sameBy(os.Lstat, path, other) }

func sameBy(look func(path string) (fs.FileInfo, error), path, other string) bool {
	info, err := look(path)
	if err != nil {
		return false
	}
	otherInfo, err := look(other)
	return err == nil && os.SameFile(info, otherInfo)
}
