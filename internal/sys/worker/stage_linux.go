package worker

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/privilege"
	"example.com/lifecycle/internal/sys/startup"
)

// foreign describes what the stage does before it executes the program. Paths are bytes, because
// JSON is UTF-8.
type foreign struct {
	Program  []byte              `json:"program"`
	Root     []byte              `json:"root,omitempty"`
	Dir      []byte              `json:"dir,omitempty"`
	Umask    int                 `json:"umask"`
	Identity *privilege.Identity `json:"identity,omitempty"`
	Sockets  int                 `json:"sockets"`
}

// execute makes this process the program. It returns only if it cannot.
func (f *foreign) execute(ctlFD int) error {
	for i := range f.Sockets {
		if _, err := unix.FcntlInt(uintptr(firstSocket+i), unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	// This comes as late as possible: from here on, processes of that user can suspend and kill
	// this one.
	if err := f.become(); err != nil {
		return err
	}
	// No process of that user may trace this process or take its control socket. Changing the user
	// has set this, unless fs.suid_dumpable differs.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	// Not earlier: changing the user resets it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if supervisorGone(ctlFD) { // the supervisor may have ended before the prctl
		os.Exit(1)
	}
	path, err := f.find()
	if err != nil {
		return err
	}
	err = syscall.Exec(path, startup.Args(), os.Environ())
	// execve(2): ENOENT also means that "a script or ELF interpreter does not exist".
	if _, statErr := os.Stat(path); statErr == nil && errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("exec %s: its interpreter: %w", path, err)
	}
	return &os.PathError{Op: "exec", Path: path, Err: err}
}

// find returns the path of a program. A name without a path is looked up inside the root directory.
func (f *foreign) find() (path string, err error) {
	if path = string(f.Program); strings.ContainsRune(path, filepath.Separator) {
		return path, nil
	}
	return exec.LookPath(path)
}

func (f *foreign) become() error {
	if len(f.Root) > 0 {
		if err := closeDirectories(); err != nil {
			return err
		}
		if err := privilege.Drop(string(f.Root), nil); err != nil {
			return err
		}
	}
	if len(f.Dir) > 0 {
		if err := os.Chdir(string(f.Dir)); err != nil {
			return err
		}
	}
	if f.Umask >= 0 {
		unix.Umask(f.Umask)
	}
	if f.Identity == nil {
		return nil
	}
	return privilege.Drop("", f.Identity)
}

// closeDirectories closes the directories that the supervisor was started with. They would prevent
// a change of the root directory.
func closeDirectories() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		var st unix.Stat_t
		fd, err := strconv.Atoi(entry.Name())
		if err == nil && fd >= firstSocket && unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			unix.Close(fd)
		}
	}
	return nil
}

// stageError reports why a foreign program was not executed.
type stageError struct {
	Text  string        `json:"error"`
	Errno syscall.Errno `json:"errno,omitempty"`
}

func newStageError(err error) *stageError {
	e := &stageError{Text: bytetext.Valid(err.Error())}
	errors.As(err, &e.Errno)
	return e
}

func (e *stageError) Error() string { return e.Text }

func (e *stageError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}
