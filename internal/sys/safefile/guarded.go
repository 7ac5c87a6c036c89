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

	"example.com/lifecycle/internal/sys/bytetext"
)

const maxLinks = 40 // as in path_resolution(7)

// Trusted lists the users and groups, besides root, that may control what a path names.
type Trusted struct{ Owners, Groups []int }

// Guarded calls [Trusted.Guard] with these owners.
func Guarded(path string, owners ...int) error { return Trusted{Owners: owners}.Guard(path) }

// Guard returns nil if only root and trusted users can change what the path names. Each directory
// on the path must belong to one of them. Other users may write a directory only if it is sticky,
// because then they cannot replace the files in it. Guard follows symbolic links in the path. They
// must also belong to one of these users. Guard does not check the file itself, which need not
// exist.
//
// Checking and opening may be two steps, because only trusted users can change what Guard has
// checked.
func (t Trusted) Guard(path string) error {
	// filepath.Dir would treat "link/.." as the directory of the link. The kernel treats it as the
	// parent of the target.
	way, _ := filepath.Split(path)
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
			return refuse(path, "the symbolic link %s in the path belongs to user %d", bytetext.Escape(next), Owner(info))
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
		return refuse(path, "the directory %s in the path belongs to user %d", bytetext.Escape(dir), Owner(info))
	case writable != 0 && info.Mode()&fs.ModeSticky == 0:
		why := fmt.Sprintf("other users can write the directory %s in the path (mode %04o)", bytetext.Escape(dir), info.Mode().Perm())
		return &fs.PathError{Op: "open", Path: path, Err: &unsafeError{why, "chmod +t " + bytetext.Escape(dir)}}
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

// group reports whether the members of the group are trusted. On macOS, the group daemon (gid 1)
// can write /var/run.
func (t Trusted) group(gid int) bool {
	return gid == 0 || slices.Contains(t.Groups, gid) || runtime.GOOS == "darwin" && gid == 1
}

// unmapped reports whether uid represents an unknown owner outside of this user namespace. The root
// directory has such an owner under `unshare --map-root-user` (user_namespaces(7), "Unmapped user
// and group IDs").
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

// maps reports whether a uid_map contains that user ID as an inside ID. Its lines are "inside
// outside count" (user_namespaces(7)).
func maps(ids string, uid int) bool {
	for line := range strings.Lines(ids) {
		var inside, outside, count int64
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && inside <= int64(uid) && int64(uid) < inside+count {
			return true
		}
	}
	return false
}
