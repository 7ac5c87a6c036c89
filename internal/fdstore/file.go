package fdstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/safefile"
)

// Only the process that has bound a socket, or a process that has inherited the socket, removes the
// socket file. A supervisor never removes one. Its worker may run as another user, and that user
// could choose a path that makes a privileged supervisor remove any file.

// socketFile is the file of a unix socket.
type socketFile struct {
	path string
	info fs.FileInfo // nil if there is none, or this process must not remove it
}

// remove removes the socket file, unless the path now names another file.
func (f socketFile) remove() {
	if f.info == nil || safefile.GuardEntry(f.path) != nil {
		return
	}
	if now, err := os.Lstat(f.path); err == nil && os.SameFile(f.info, now) {
		_ = os.Remove(f.path)
	}
}

// findFile finds the file of a socket that an earlier process has bound.
func (d *Descriptor) findFile() {
	if d == nil || !d.stored || d.use.Path == "" {
		return
	}
	if f, err := d.use.Copy(); err == nil {
		d.file = socketFile{d.use.Path, activation.File(f, d.use.Path)}
		f.Close()
	}
}

// fileOf returns the file of an unclaimed socket that an earlier process has bound. As root, fileOf
// returns none, because another user may have bound the socket and chosen its path.
func fileOf(e Entry) socketFile {
	if os.Geteuid() == 0 {
		return socketFile{}
	}
	path := activation.Path(e.File)
	if !isStored(e) || !filepath.IsAbs(path) {
		return socketFile{}
	}
	return socketFile{path, activation.File(e.File, path)}
}

// dropUnreachable closes inherited sockets of this use whose socket file is gone, because no client
// can reach such a socket. The program then binds a new one.
func (t *table) dropUnreachable(use Use) {
	t.mu.Lock()
	t.inherit()
	t.everUsed = true
	name := use.Name(1)
	found := slices.ContainsFunc(t.unclaimed, func(e Entry) bool { return e.Name == name && isStored(e) })
	t.mu.Unlock()
	if !found || use.Path == "" {
		return
	}
	if _, err := os.Lstat(use.Path); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	t.mu.Lock()
	dropped := slices.ContainsFunc(t.unclaimed, func(e Entry) bool { return e.Name == name && e.File.Close() == nil })
	t.unclaimed = slices.DeleteFunc(t.unclaimed, func(e Entry) bool { return e.Name == name })
	t.mu.Unlock()
	if dropped {
		t.unstore(name)
	}
}

// leave records a socket file that stays for the next process.
func (t *table) leave(f socketFile) {
	if f.info == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left = append(t.left, f)
}

// leftFiles returns the socket files that the next process would need.
func (t *table) leftFiles() []socketFile {
	t.mu.Lock()
	files := slices.Clone(t.left)
	unclaimed, claimed := slices.Clone(t.unclaimed), slices.Clone(t.claimed)
	t.mu.Unlock()
	for _, d := range claimed {
		if d.isStored() {
			files = append(files, d.file)
		}
	}
	for _, e := range unclaimed {
		files = append(files, fileOf(e))
	}
	return slices.DeleteFunc(files, func(f socketFile) bool { return f.info == nil })
}

// ChangeRoot prepares the paths of the socket files for another root directory. inside returns a
// path inside that directory, or "" for a path outside. The caller calls apply after the root
// directory has changed.
func ChangeRoot(inside func(path string) string) (apply func()) {
	process.mu.Lock()
	defer process.mu.Unlock()
	claimed, seen := slices.Clone(process.claimed), map[*Descriptor]string{}
	for _, d := range claimed {
		seen[d] = inside(d.use.Path)
	}
	return func() {
		for _, d := range claimed {
			process.mu.Lock()
			d.use.Path = seen[d]
			process.mu.Unlock()
			d.mu.Lock()
			if d.file.path = seen[d]; seen[d] == "" {
				d.file = socketFile{}
			}
			d.mu.Unlock()
		}
	}
}

// removeFile removes the socket file, unless the manager keeps the socket. The socket stays open.
func (d *Descriptor) removeFile() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed && !d.stored {
		d.file.remove()
		d.file = socketFile{}
	}
}

func (d *Descriptor) isStored() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stored
}
