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

// stageProgram contains the supervised program that a stage executes, and its user. Paths are
// bytes, because JSON text must be UTF-8.
type stageProgram struct {
	Path     []byte              `json:"program"`
	Root     []byte              `json:"root,omitempty"`
	Dir      []byte              `json:"dir,omitempty"`
	Umask    int                 `json:"umask"`
	Identity *privilege.Identity `json:"identity,omitempty"`
	Sockets  int                 `json:"sockets"`
}

// execute executes the program in this process. It returns only if that fails.
func (p *stageProgram) execute(ctlFD int) error {
	for i := range p.Sockets {
		if _, err := unix.FcntlInt(uintptr(firstSocket+i), unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	// Change the user as late as possible, because from here on processes of that user can suspend
	// and kill this one.
	if err := p.become(); err != nil {
		return err
	}
	// This keeps processes of that user from tracing this process and from taking its control
	// socket. Changing the user has already done it, unless fs.suid_dumpable is set.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	// This must follow the change of the user, which resets it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if supervisorGone(ctlFD) { // the supervisor may have ended before the prctl
		os.Exit(1)
	}
	path, err := p.find()
	if err != nil {
		return err
	}
	err = syscall.Exec(path, startup.Args(), os.Environ())
	// ENOENT of execve(2) can also mean that "a script or ELF interpreter does not exist".
	if _, statErr := os.Stat(path); statErr == nil && errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("exec %s: its interpreter: %w", path, err)
	}
	return &os.PathError{Op: "exec", Path: path, Err: err}
}

// find returns the path of a program. It looks up a name without a slash in the PATH inside the
// root directory.
func (p *stageProgram) find() (path string, err error) {
	if path = string(p.Path); strings.ContainsRune(path, filepath.Separator) {
		return path, nil
	}
	return exec.LookPath(path)
}

func (p *stageProgram) become() error {
	if len(p.Root) > 0 {
		if err := closeDirectories(); err != nil {
			return err
		}
		if err := privilege.Drop(string(p.Root), nil); err != nil {
			return err
		}
	}
	if len(p.Dir) > 0 {
		if err := os.Chdir(string(p.Dir)); err != nil {
			return err
		}
	}
	if p.Umask >= 0 {
		unix.Umask(p.Umask)
	}
	if p.Identity == nil {
		return nil
	}
	return privilege.Drop("", p.Identity)
}

// closeDirectories closes the descriptors of directories that the supervisor has inherited. They
// would prevent a change of the root directory.
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

// stageError reports why a supervised program was not executed.
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
