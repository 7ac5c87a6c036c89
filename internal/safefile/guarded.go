package safefile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const maxLinks = 40 // as path_resolution(7)

// Trusted are those who may decide, beside root, what a path names.
type Trusted struct{ Owners, Groups []int }

// Guarded is Guard where these owners are trusted.
func Guarded(path string, owners ...int) error { return Trusted{Owners: owners}.Guard(path) }

// Guard returns nil if nobody but root and those who are trusted decides what the path names: each directory on
// the way to it is theirs, and others can write it only where it is sticky, so that they cannot replace what is theirs. Symbolic
// links on the way are followed, for they are theirs too. The file itself need not exist, and is not looked at.
//
// Since only those who are trusted can change what was looked at, it does not matter that looking and opening are two steps.
func (t Trusted) Guard(path string) error {
	way, _ := filepath.Split(path) // not filepath.Dir: it takes "link/.." for the directory of the link, which the kernel does not
	if !filepath.IsAbs(path) {
		workDir, err := os.Getwd()
		if err != nil {
			return err
		}
		way = workDir + string(filepath.Separator) + way
	}
	dir, rest := string(filepath.Separator), split(way)
	root, err := os.Lstat(dir)
	if err == nil {
		err = t.guardDir(path, dir, root)
	}
	if err != nil {
		return err
	}
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = filepath.Dir(dir)
			continue
		}
		next := filepath.Join(dir, name)
		info, err := os.Lstat(next)
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if err := t.guardDir(path, next, info); err != nil {
				return err
			}
			dir = next
			continue
		}
		if links++; links > maxLinks {
			return &fs.PathError{Op: "open", Path: next, Err: syscall.ELOOP}
		}
		if !t.owner(Owner(info)) {
			return refuse(path, "the symbolic link %s on the way belongs to user %d", next, Owner(info))
		}
		target, err := os.Readlink(next)
		if err != nil {
			return err
		}
		if filepath.IsAbs(target) {
			dir = string(filepath.Separator)
		}
		rest = append(split(target), rest...)
	}
	return nil
}

func (t Trusted) guardDir(path, dir string, info fs.FileInfo) error {
	if !info.IsDir() {
		return &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	writable := info.Mode().Perm() & 0o022
	if writable&0o020 != 0 && t.group(Group(info)) {
		writable &^= 0o020
	}
	switch {
	case !t.owner(Owner(info)):
		return refuse(path, "the directory %s on the way belongs to user %d", dir, Owner(info))
	case writable != 0 && info.Mode()&fs.ModeSticky == 0:
		return refuse(path, "others can write the directory %s on the way (mode %04o)", dir, info.Mode().Perm())
	}
	return nil
}

func split(path string) (names []string) {
	for name := range strings.SplitSeq(path, string(filepath.Separator)) {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}

func (t Trusted) owner(uid int) bool {
	return uid == 0 || slices.Contains(t.Owners, uid) || unmapped(uid)
}

// group says whether whoever is in that group is trusted. macOS keeps its /var/run writable for the group daemon.
func (t Trusted) group(gid int) bool {
	return gid == 0 || slices.Contains(t.Groups, gid) || runtime.GOOS == "darwin" && gid == 1
}

// unmapped says that uid stands for an owner outside of this user namespace, about whom nothing can be known here:
// the root directory of `unshare --map-root-user` is such a one (user_namespaces(7), "Unmapped user and group IDs").
func unmapped(uid int) bool {
	if runtime.GOOS != "linux" {
		return false
	}
	overflow, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil || strings.TrimSpace(string(overflow)) != strconv.Itoa(uid) {
		return false
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !maps(string(ids), uid)
}

// maps says whether a uid_map, of lines "inside outside count" (user_namespaces(7)), has that user ID inside.
func maps(ids string, uid int) bool {
	for line := range strings.Lines(ids) {
		var inside, outside, count int64
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && inside <= int64(uid) && int64(uid) < inside+count {
			return true
		}
	}
	return false
}
