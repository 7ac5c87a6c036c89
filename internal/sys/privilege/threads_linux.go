package privilege

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const descriptors = "/proc/self/fd"

// threads reads the status of the threads of this process from proc(5). It is nil if /proc is not
// mounted, and check then finds no difference.
type threads struct{ dir *os.File }

func lookAtThreads() *threads {
	dir, err := os.Open("/proc/self/task")
	if err != nil {
		return nil
	}
	return &threads{dir}
}

func (t *threads) close() {
	if t != nil {
		t.dir.Close()
	}
}

// check returns an error if a thread does not have that identity.
func (t *threads) check(want Identity) error {
	if t == nil {
		return nil
	}
	ids, err := t.dir.Readdirnames(-1)
	if err == nil && len(ids) == 0 {
		err = errors.New("no thread found")
	}
	if err != nil {
		return err
	}
	for _, id := range ids {
		status, err := t.status(id)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) { // the thread has ended
			continue
		}
		if err == nil {
			err = want.compare(status)
		}
		if err != nil {
			return fmt.Errorf("thread %s: %w", id, err)
		}
	}
	return nil
}

// status returns the status file of a thread. It opens the file relative to an open directory,
// because the root directory may have changed.
func (t *threads) status(id string) (string, error) {
	fd, err := unix.Openat(int(t.dir.Fd()), id+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	file := os.NewFile(uintptr(fd), "status")
	defer file.Close()
	text, err := io.ReadAll(file)
	return string(text), err
}

// compare returns an error that names a difference between the status and the identity.
func (i Identity) compare(status string) error {
	// These are the real, effective, saved and file system IDs.
	four := func(id int) []int { return []int{id, id, id, id} }
	for name, want := range map[string][]int{"Uid": four(i.UID), "Gid": four(i.GID), "Groups": i.Groups} {
		var got []int
		for _, field := range strings.Fields(value(status, name)) {
			id, err := strconv.Atoi(field)
			if err != nil {
				return err
			}
			got = append(got, id)
		}
		if !slices.Equal(sorted(got), sorted(want)) {
			return fmt.Errorf("%s is %v instead of %v", name, got, want)
		}
	}
	for _, name := range []string{"CapPrm", "CapEff"} {
		if got := value(status, name); i.UID != 0 && strings.Trim(got, "0") != "" {
			return fmt.Errorf("%s is %s: capabilities(7) were kept", name, got)
		}
	}
	return nil
}

func value(status, name string) string {
	_, rest, _ := strings.Cut(status, "\n"+name+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

func sorted(ids []int) []int { return slices.Compact(slices.Sorted(slices.Values(ids))) }
