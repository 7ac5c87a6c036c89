package fdstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"example.com/lifecycle/internal/activation"
	"example.com/lifecycle/internal/safefile"
)

// A socket file is removed by the process that has bound the socket, or by one that has inherited it from
// that process. It is removed with the privileges that the process has then, and never by a supervisor:
// who removes a file that another user has named can be led to any file.

// socketFile is the file of a unix socket.
type socketFile struct {
	path string
	info fs.FileInfo // nil: there is none, or it is not ours to remove
}

// remove removes the socket file, unless the path names another file now.
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

// fileOf returns the file of a socket that nobody has claimed and an earlier process has bound. Root takes no
// path from it: another user may have bound it.
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

// dropUnreachable closes inherited sockets of this use that an earlier process has bound and whose file is
// gone, since no client can reach them. The program binds a new one then.
func (t *table) dropUnreachable(use Use) {
	t.mu.Lock()
	t.inherit()
	t.everUsed = true
	name := use.Name(1)
	found := slices.ContainsFunc(t.unclaimed, func(e Entry) bool { return e.Name == name && isStored(e) })
	t.mu.Unlock()
	if !found || use.Path == "" || use.Path != use.Address {
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

// leave notes a socket file that is left to the next process.
func (t *table) leave(f socketFile) {
	if f.info == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left = append(t.left, f)
}

// leftFiles returns the socket files that a next process would need.
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

func (d *Descriptor) isStored() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stored
}
