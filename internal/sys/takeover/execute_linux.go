package takeover

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/memfile"
	"example.com/lifecycle/internal/sys/privilege"
	"example.com/lifecycle/internal/sys/rawconn"
)

// parcel is the content of the memfd.
type parcel struct {
	PID   int             `json:"pid"`
	Files []parcelFile    `json:"files"`
	State json.RawMessage `json:"state"`
}

type parcelFile struct {
	FD   int    `json:"fd"`
	Name []byte `json:"name"` // bytes, because JSON text must be UTF-8
}

func execute(on func(func()), s Spec) error {
	if !filepath.IsAbs(s.Path) || len(s.Args) == 0 {
		return fmt.Errorf("cannot execute %q: the path must be absolute, and the program needs a name", s.Path)
	}
	// With file capabilities, the new program would accept no state, because any user who can
	// execute it could have made that state.
	if privilege.IsFileCapable() {
		return errors.New("cannot execute another program: " + privilege.WhyNotFileCapable)
	}
	exe, args, err := execve.ProgramArgs(s.Path, s.Args)
	if err != nil {
		return err
	}
	fds, sealed, err := s.pack()
	if err != nil {
		return err
	}
	defer sealed.Close()
	memfd := int(sealed.Fd())
	env := slices.DeleteFunc(slices.Clone(s.Env), func(v string) bool { return strings.HasPrefix(v, markVariable+"=") })
	env = append(env, markVariable+"="+strconv.Itoa(memfd))
	on(func() {
		err = s.replace(append(fds, memfd), func() error {
			return &os.PathError{Op: "exec", Path: s.Path, Err: syscall.Exec(exe, args, env)}
		})
	})
	runtime.KeepAlive(s.Files)
	return err
}

// pack writes the state and the list of files into a sealed memfd. It returns the descriptors of
// the files.
func (s *Spec) pack() (fds []int, sealed *os.File, err error) {
	p := parcel{PID: os.Getpid(), Files: []parcelFile{}}
	for _, f := range s.Files {
		err := rawconn.Control(f, func(fd int) error {
			fds = append(fds, fd)
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("cannot pass %s: %w", f.Name(), err)
		}
		p.Files = append(p.Files, parcelFile{FD: fds[len(fds)-1], Name: []byte(f.Name())})
	}
	if p.State, err = json.Marshal(s.State); err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, nil, err
	}
	if sealed, err = memfile.Seal("takeover", text); err != nil {
		return nil, nil, err
	}
	return fds, sealed, nil
}

// replace prepares this process and this thread, and calls exec. If exec fails, replace undoes the
// preparation and returns the error.
func (s *Spec) replace(inherited []int, exec func() error) error {
	// No fork of another thread may pass the descriptors on.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	back, err := enter(s.Dir)
	if err != nil {
		return err
	}
	defer back()
	defer setCloseOnExec(inherited, unix.FD_CLOEXEC)
	if err := setCloseOnExec(inherited, 0); err != nil {
		return err
	}
	defer keepFileLimit()()
	restore, err := s.holdSignals()
	if err != nil {
		return err
	}
	defer restore()
	if s.Abort != nil {
		if err := s.Abort(); err != nil {
			return err
		}
	}
	return exec()
}

// enter changes the working directory, and returns a function that returns to the current one.
func enter(dir string) (back func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	here, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: ".", Err: err}
	}
	back = func() {
		_ = unix.Fchdir(here)
		unix.Close(here)
	}
	if err := unix.Chdir(dir); err != nil {
		back()
		return nil, &os.PathError{Op: "chdir", Path: dir, Err: err}
	}
	return back, nil
}

func setCloseOnExec(fds []int, flag int) error {
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	return nil
}

// keepFileLimit returns a function that restores the soft limit of descriptors. The Go runtime has
// raised it, and syscall.Exec lowers it again.
func keepFileLimit() (restore func()) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return func() {}
	}
	return func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }
}

// holdSignals blocks USR1 and USR2 in this thread, ignores HUP, and gives INT and TERM their
// default action. It waits until earlier signals are in the channels of package signal.
func (s *Spec) holdSignals() (restore func(), err error) {
	var mask, before unix.Sigset_t
	for _, sig := range held {
		mask.Val[0] |= 1 << (sig.(unix.Signal) - 1)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &mask, &before); err != nil {
		return nil, os.NewSyscallError("pthread_sigmask", err)
	}
	catch := []func(){
		execve.IgnoreSignal(unix.SIGHUP), execve.DefaultSignal(unix.SIGINT), execve.DefaultSignal(unix.SIGTERM),
	}
	// If this package has executed this program, all threads except the thread of package signal
	// block these two signals. signal.Stop makes that thread block the two signals too, but only
	// after it has sent the earlier signals to the channel.
	if s.Held != nil && inherited != nil {
		signal.Stop(s.Held)
	}
	flush()
	return func() {
		for _, restore := range catch {
			restore()
		}
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	}, nil
}

// flush waits until package signal has passed on all signals that the process has caught.
func flush() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGWINCH)
	signal.Stop(c)
}
