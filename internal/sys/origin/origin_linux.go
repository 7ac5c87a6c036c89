package origin

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/memfile"
)

const (
	name = "lifecycle-origin"
	// target is the link in /proc/PID/fd for the memfd (memfd_create(2)).
	target = "/memfd:" + name + " (deleted)"
	// maxSize is more than the kernel permits for the arguments of a program (execve(2)).
	maxSize = 16 << 20
)

func keep(o Origin) (*os.File, error) {
	text, err := json.Marshal(o.wire())
	if err != nil {
		return nil, err
	}
	f, err := memfile.Seal(name, text)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	return f, nil
}

func of(pid int, pidFile string) (Origin, error) {
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return Origin{}, fmt.Errorf("/proc is not mounted for this PID namespace: %w", ErrNone)
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	descriptors, err := os.ReadDir(dir)
	if err != nil {
		return Origin{}, err
	}
	for _, d := range descriptors {
		path := filepath.Join(dir, d.Name())
		if link, err := os.Readlink(path); err != nil || link != target {
			continue
		}
		if o, err := read(path); err == nil && samePath(o.PIDFile, pidFile) {
			return o, nil
		}
	}
	return Origin{}, ErrNone
}

func runs(pid int, args []string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(text) == 0 {
		return false
	}
	shown := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	return slices.Equal(shown[1:], args)
}

// read reads a memfd of another process. It inspects the file before it opens it, because opening a
// device can have an effect. The process may replace its descriptor at any time.
func read(path string) (o Origin, err error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return o, err
	}
	defer unix.Close(fd)
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return o, err
	}
	owner := int(info.Uid)
	if info.Mode&unix.S_IFMT != unix.S_IFREG || info.Nlink != 0 || owner != 0 && owner != os.Geteuid() {
		return o, ErrNone
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return o, err
	}
	defer f.Close()
	if !memfile.IsSealed(int(f.Fd())) {
		return o, ErrNone
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil {
		return o, err
	}
	var w wire
	if err := json.Unmarshal(text, &w); err != nil {
		return o, err
	}
	return w.origin(), nil
}

// samePath reports whether both paths name the same file.
func samePath(a, b string) bool {
	if a == b {
		return true
	}
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}
