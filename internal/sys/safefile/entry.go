package safefile

import (
	"io/fs"
	"os"
	"path/filepath"
)

// SameEntry reports whether two paths name the same entry of the same directory. The directory can
// have several names, such as /run and /var/run. The last element is compared as text, because this
// module follows no link there. The file itself need not exist.
func SameEntry(a, b string) bool {
	return filepath.Base(a) == filepath.Base(b) && SameDir(filepath.Dir(a), filepath.Dir(b))
}

// SameDir reports whether two paths name the same directory. It follows links, and returns true if
// the texts are equal.
func SameDir(a, b string) bool { return a == b || sameBy(os.Stat, a, b) }

// ResolveDir resolves the symbolic links in the directory of path. Two paths for which [SameEntry]
// returns true then have the same text. It returns path unchanged if the directory does not exist.
func ResolveDir(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if path == "" || err != nil {
		return path
	}
	return filepath.Join(dir, filepath.Base(path))
}

// InsideDir is [Inside] for the path of a directory.
func InsideDir(root, dir string) string {
	if dir == "" {
		return ""
	}
	if path := Inside(root, filepath.Join(dir, "x")); path != "" {
		return filepath.Dir(path)
	}
	return ""
}

// Inside returns the path as seen from another root directory, or "" if the path is outside.
func Inside(root, path string) string {
	if path == "" {
		return ""
	}
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return ""
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return ""
	}
	rel, err := filepath.Rel(root, filepath.Join(dir, filepath.Base(path)))
	if err != nil || !filepath.IsLocal(rel) {
		return ""
	}
	return string(filepath.Separator) + rel
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
