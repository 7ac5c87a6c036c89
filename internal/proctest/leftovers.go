package proctest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ownTemp makes the directory for the temporary files of this run. As root, it ignores TMPDIR and
// makes it in /tmp, because root refuses a PID file in most other directories. Every user may enter
// the directory, because some tests change their user.
func ownTemp() (dir string) {
	parent := ""
	if os.Geteuid() == 0 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "lifecycle-test-")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Setenv("TMPDIR", dir))
	}
	if err != nil {
		panic(err)
	}
	return dir
}

// nothingLeft waits until the processes, descriptors and files of the tests are gone, and reports
// whether they are gone. On systems with /proc, it recognizes the processes by the temporary
// directory in their environment.
func nothingLeft(temp string, opened int) bool {
	var left []string
	for deadline := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) {
		if left = leftovers(temp, opened); len(left) == 0 {
			return true
		}
		if time.Now().After(deadline) {
			fmt.Fprintln(os.Stderr, "the tests have left:\n"+strings.Join(left, "\n"))
			return false
		}
	}
}

func leftovers(temp string, opened int) (left []string) {
	eachProcess("environ", func(pid int, environ string) {
		if strings.Contains(environ, temp) && pid != os.Getpid() {
			args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			left = append(left, fmt.Sprintf("process %d: %s", pid, strings.ReplaceAll(string(args), "\x00", " ")))
		}
	})
	if n := descriptors(); n > opened {
		left = append(left, fmt.Sprintf("%d descriptors, and there were %d", n, opened))
	}
	files, _ := filepath.Glob(filepath.Join(temp, "*"))
	return append(left, files...)
}

// descriptors returns how many descriptors this process has, on systems with /proc. It first makes
// a pipe, because the Go runtime opens descriptors of its own with the first pipe.
func descriptors() int {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	open, _ := os.ReadDir("/proc/self/fd")
	return len(open)
}
