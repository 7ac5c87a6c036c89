package cgroup

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// group is a control group and its directory. The process that made the group holds a lock on the
// directory until it ends. The mode of the directory keeps other users from locking it.
type group struct {
	in   *tree
	name string
	root *os.Root
	dir  *os.File
}

const (
	prefix = "lifecycle-"
	mode   = 0o700
)

// made makes the names unique. It is package state because the names contain the PID of this
// process.
var made atomic.Int64

func namePrefix(owner string) string {
	hash := fnv.New64a()
	hash.Write([]byte(owner))
	return fmt.Sprintf("%s%016x-", prefix, hash.Sum64())
}

func (t *tree) makeGroup(owner string) (g *Group, err error) {
	t.abandoned("")
	for range 3 { // another process may be checking whether it is abandoned
		name := fmt.Sprintf("%s%d-%d", namePrefix(owner), os.Getpid(), made.Add(1))
		if err = t.root.Mkdir(name, mode); err != nil {
			continue
		}
		if g, err = t.open(name); err == nil {
			return g, nil
		}
		_ = t.root.Remove(name)
	}
	return nil, err
}

// adoptTime is how long adopt tries.
const adoptTime = time.Second

func (t *tree) adopt(name string) (g *Group, err error) {
	if !strings.HasPrefix(name, prefix) || strings.Contains(name, "/") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	// New groups of this process must get other names.
	_, number, _ := strings.Cut(name, fmt.Sprintf("-%d-", os.Getpid()))
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && n > made.Load() {
		made.Store(n)
	}
	for end := time.Now().Add(adoptTime); ; time.Sleep(time.Millisecond) {
		g, err = t.open(name)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return g, err
		}
	}
}

// open opens and locks a group of this user that no process has locked.
func (t *tree) open(name string) (*Group, error) {
	root, err := t.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	g := &Group{group{in: t, name: name, root: root}}
	if g.dir, err = root.Open("."); err == nil {
		err = g.lock()
	}
	if err != nil {
		g.release()
		return nil, err
	}
	return g, nil
}

func (g *group) lock() error {
	info, err := g.dir.Stat()
	if err != nil {
		return err
	}
	// If another user could write the group, that user could move processes into it.
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner != uint32(os.Geteuid()) || info.Mode().Perm()&0o077 != 0 {
		return &fs.PathError{Op: "open", Path: g.name, Err: fs.ErrPermission}
	}
	if err := unix.Flock(int(g.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &fs.PathError{Op: "flock", Path: g.name, Err: err}
	}
	_, err = g.root.ReadFile("cgroup.events") // the group may have been removed
	return err
}

func (t *tree) abandoned(owner string) (populated []*Group) {
	dir, err := t.root.Open(".")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		g, err := t.open(name)
		switch {
		case err != nil:
		case owner != "" && strings.HasPrefix(name, namePrefix(owner)) && g.populated():
			populated = append(populated, g)
		case g.populated():
			g.release()
		default:
			_ = g.remove()
		}
	}
	return populated
}

func (t *tree) release() { t.root.Close() }

func (g *group) release() {
	g.root.Close()
	if g.dir != nil {
		g.dir.Close()
	}
}

func (g *group) remove() error {
	defer g.release()
	if g.populated() {
		return &fs.PathError{Op: "rmdir", Path: g.name, Err: unix.EBUSY}
	}
	removeBelow(g.root, 0)
	err := g.in.root.Remove(g.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeBelow removes the groups inside a group. They must be empty.
func removeBelow(root *os.Root, level int) {
	if level == maxDepth {
		return
	}
	for _, name := range below(root) {
		if inner, err := root.OpenRoot(name); err == nil {
			removeBelow(inner, level+1)
			inner.Close()
		}
		_ = root.Remove(name)
	}
}

// maxDepth and maxBelow limit the work for the groups inside a group. A worker with root rights can
// make such groups. Groups beyond the limits stay as abandoned groups.
const (
	maxDepth = 32
	maxBelow = 1000
)

// below returns the names of the groups inside a group.
func below(root *os.Root) (names []string) {
	dir, err := root.Open(".")
	if err != nil {
		return nil
	}
	defer dir.Close()
	entries, _ := dir.ReadDir(maxBelow)
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}

// populated reports whether the group or a nested group has a live process (cgroup.events).
func (g *group) populated() bool {
	text, err := g.root.ReadFile("cgroup.events")
	return err == nil && strings.Contains(string(text), "populated 1")
}
