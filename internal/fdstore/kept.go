package fdstore

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/openfile"
	"example.com/lifecycle/internal/sys/sdnotify"
)

// kept is a file that the program has stored under a name, in this process or in an earlier one.
type kept struct {
	name string
	key  string   // of the manager's copy; see keptKey
	file *os.File // inherited and not returned to the program yet; nil: none
}

// keptKey returns the key for a file that is stored now. The key contains the time, because a
// manager might not keep the order of the files.
func keptKey(name string) string {
	return fmt.Sprintf("%s%d:%s", activation.FilePrefix, int64(monotonic.Boottime()), name)
}

// parseKept returns the name of a stored file from the name of its descriptor, and the time at
// which it was stored. ok is false for any other descriptor.
func parseKept(descriptor string) (name string, at int64, ok bool) {
	key, ok := activation.Key(descriptor)
	rest, isFile := strings.CutPrefix(key, activation.FilePrefix)
	number, name, hasName := strings.Cut(rest, ":")
	at, err := strconv.ParseInt(number, 10, 64)
	return name, at, ok && isFile && hasName && err == nil
}

// takeKept moves the files that earlier processes have stored from unclaimed to kept. The caller
// holds t.mu.
func (t *table) takeKept() {
	at := map[string]int64{}
	t.unclaimed = slices.DeleteFunc(t.unclaimed, func(e Entry) bool {
		name, stored, ok := parseKept(e.Name)
		if ok {
			t.kept = append(t.kept, kept{name, e.Name, e.File})
			at[e.Name] = stored
		}
		return ok
	})
	slices.SortStableFunc(t.kept, func(a, b kept) int { return cmp.Compare(at[a.key], at[b.key]) })
}

// Keep gives the manager a copy of a file for the next processes. If the file is nil, Keep removes
// all files that are stored under that name. The error wraps errors.ErrUnsupported if no manager
// keeps descriptors.
func Keep(name string, f *os.File) error {
	t := &process
	t.mu.Lock()
	t.inherit()
	m := t.life.Manager
	t.mu.Unlock()
	switch {
	case name == "" || len(name) > maxKept:
		return fmt.Errorf("the name has %d bytes, but must have 1 to %d", len(name), maxKept)
	case f == nil:
		t.forget(name)
		return nil
	case m == nil || m.Room <= 0:
		return fmt.Errorf("no supervisor or service manager keeps descriptors for this process now: %w", errors.ErrUnsupported)
	}
	if err := sdnotify.CanKeep(f); err != nil {
		return err
	}
	if !t.reserve(m) {
		return fmt.Errorf("the service manager keeps at most %d descriptors", m.Room)
	}
	key := activation.Name(keptKey(name))
	if err := m.Store(key, f); err != nil {
		t.unreserve()
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, kept{name: name, key: key})
	return nil
}

// maxKept is the length of the longest name of a stored file, in bytes. Its key fits into the name
// of a descriptor even if every byte is escaped.
const maxKept = 64

// forget removes the files that are stored under a name. It closes the files that Kept has not
// returned.
func (t *table) forget(name string) {
	var gone []kept
	t.mu.Lock()
	t.kept = slices.DeleteFunc(t.kept, func(k kept) bool {
		if k.name == name {
			gone = append(gone, k)
		}
		return k.name == name
	})
	t.mu.Unlock()
	for _, k := range gone {
		if k.file != nil {
			k.file.Close()
		}
		t.unstore(k.key)
	}
}

// Kept returns the files that earlier processes have stored under a name, oldest first. It returns
// each file once. The caller must close them. The manager keeps its copies.
func Kept(name string) (files []*os.File) {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.inherit()
	for i, k := range process.kept {
		if k.name != name || k.file == nil {
			continue
		}
		process.kept[i].file = nil
		if f, err := openfile.Duplicate(k.file, name); err == nil {
			files = append(files, f)
		}
		k.file.Close()
	}
	return files
}
