package safefile

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// GuardedProgram returns nil if only root can change which program the path executes. Each
// directory on the way must pass [Guarded]. The file and each symbolic link that leads to it must
// belong to root, and other users must not be able to write the file.
func GuardedProgram(path string) error {
	t := Trusted{}
	for range maxLinks {
		if err := t.Guard(path); err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if !t.owner(Owner(info)) { // in a sticky directory, other users can have files
			return refuse(path, "it belongs to user %d", Owner(info))
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return t.guardContent(path, info)
		}
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(target) {
			dir, _ := filepath.Split(path)
			// filepath.Join would treat "link/.." as the directory of the link.
			target = dir + target
		}
		path = target
	}
	return &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
}

func (t Trusted) guardContent(path string, info fs.FileInfo) error {
	writable := info.Mode().Perm() & 0o022
	if t.group(Group(info)) {
		writable &^= 0o020
	}
	if writable != 0 {
		return refuse(path, "other users can write it (mode %04o)", info.Mode().Perm())
	}
	return nil
}
