//go:build unix && !aix

package detach

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/sevlyar/go-daemon"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/ctlsock"
	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/procattr"
	"example.com/lifecycle/internal/sys/secureenv"
	"example.com/lifecycle/internal/sys/startup"
)

// markVariable marks a process as stage 1 or stage 2. Its value is "1:" or "2:" and the device and
// inode of the socket that is the stdout of the process. A stray or forged variable has no effect
// without that socket.
//
// Another user can forge both, and could then choose the root directory of a setuid-root program.
// Therefore a stage does not accept a launcher of another user. A program with file capabilities
// accepts no launcher, because its caller has the same user.
const markVariable = "_LIFECYCLE_STAGE"

const (
	stdin = iota
	stdout
	stderr
	firstOther
)

func init() {
	mark := secureenv.Take(markVariable)
	stage, socket, _ := strings.Cut(mark, ":")
	if mark == "" || !ctlsock.IsMarked(stdout, socket) || !ctlsock.MadeByUs(stdout) {
		return
	}
	switch stage {
	case "1":
		err := startDetached(socket)
		if err != nil {
			report(Stage1{Error: bytetext.Valid(err.Error())})
			os.Exit(1)
		}
		os.Exit(0)
	case "2":
		if err := inherit(); err != nil {
			report(Stage1{Error: bytetext.Valid(err.Error())})
			os.Exit(1)
		}
	}
}

// report writes a message to the socket that is stdout.
func report(message any) {
	if line, err := ctlsock.Encode(message); err == nil {
		startup.Stdout.Write(line)
	}
}

// launcherEnded is the text of the error if no launcher waits for this start any more.
const launcherEnded = "the launcher has ended"

// startDetached is stage 1. It completes the steps of the go-daemon library and starts the detached
// process. Stage 1 leads the session, and the detached process does not. The detached process
// inherits no signal settings, descriptors, limits or priorities from the caller of the launcher.
func startDetached(socket string) error {
	if err := finishReborn(); err != nil {
		return fmt.Errorf("stage 1: %w", err)
	}
	os.Unsetenv(daemon.MARK_NAME)
	if ctlsock.IsGone(stdout) {
		return errors.New(launcherEnded)
	}
	if err := execve.CloseOnExec(firstOther); err != nil {
		return fmt.Errorf("stage 1: cannot close descriptors: %w", err)
	}
	// execve(2) resets a caught signal to its default, but keeps an ignored signal ignored.
	if ignored := execve.IgnoredSignals(); len(ignored) > 0 {
		signal.Notify(make(chan os.Signal, 1), ignored...)
	}
	runtime.LockOSThread() // the mask belongs to the thread, and its children inherit it
	execve.EmptySignalMask()
	execve.DefaultRuntimeSignals()
	procattr.Reset()
	// Do not use os.StartProcess. It forks once more to test whether it can wait with a pidfd, but
	// stage 1 does not wait.
	path := execve.ThisProgram()
	args, err := execve.SelfArgs(startup.Args())
	if err != nil {
		return fmt.Errorf("stage 1: %w", err)
	}
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{
		Env:   append(os.Environ(), markVariable+"=2:"+socket),
		Files: []uintptr{stdin, stdout, stderr},
	})
	if err != nil {
		return fmt.Errorf("stage 1: %w", &os.PathError{Op: "fork/exec", Path: path, Err: err})
	}
	report(Stage1{PID: pid}) // the detached process sends its PID too, later
	return nil
}

// finishReborn finishes the part of go-daemon, but discards the environment that go-daemon sends.
// This library does not need that environment. The caller of a program with file capabilities could
// use it to change the root directory.
func finishReborn() error {
	// The launcher may be blocked until this process has read everything.
	if _, err := io.Copy(io.Discard, startup.Stdin); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = w.WriteString("{}")
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	os.Stdin = r
	_, err = new(daemon.Context).Reborn()
	return err
}

// inherit is the beginning of the detached process. It receives the handoff and replaces its
// stdout, which was the socket.
func inherit() error {
	text, fds, err := receive()
	if err != nil {
		return err
	}
	var n note
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	fd, err := unix.FcntlInt(stdout, unix.F_DUPFD_CLOEXEC, firstOther)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	conn := ctlsock.Conn(fd)
	if ctlsock.IsGone(stdout) {
		return errors.New(launcherEnded)
	}
	take := func(given bool, target int) error {
		if !given {
			return nil
		}
		if len(fds) == 0 {
			return errors.New("a descriptor is missing")
		}
		err := dup2(fds[0], target)
		unix.Close(fds[0])
		fds = fds[1:]
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	err = errors.Join(dup2(int(null.Fd()), stdout), dup2(int(null.Fd()), stderr))
	err = errors.Join(err, take(n.Stdout, stdout), take(n.Stderr, stderr))
	if err == nil && len(fds) != len(n.Names) {
		err = errors.New("a descriptor is missing")
	}
	if err != nil {
		return err
	}
	inherited = &Handoff{Note: n.Note, Launcher: NewPeer(conn), messages: make(chan json.RawMessage, 1)}
	if err := inherited.Launcher.Send(Stage1{PID: os.Getpid()}); err != nil {
		return errors.New(launcherEnded)
	}
	go inherited.watch()
	for i, fd := range fds {
		inherited.Files = append(inherited.Files, os.NewFile(uintptr(fd), string(n.Names[i])))
	}
	execve.NameProcess(filepath.Base(startup.Args()[0]))
	return nil
}

// receive reads the note and its descriptors.
func receive() (text []byte, fds []int, err error) {
	buf, control := make([]byte, 2*maxNote), make([]byte, unix.CmsgSpace(maxFiles*4))
	var n, controlled, flags int
	for {
		n, controlled, flags, _, err = unix.Recvmsg(stdout, buf, control, cloexecRights)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, nil, os.NewSyscallError("recvmsg", err)
	}
	if n == 0 {
		return nil, nil, errors.New(launcherEnded)
	}
	if flags&unix.MSG_CTRUNC != 0 {
		// unix(7): beyond RLIMIT_NOFILE, "the excess file descriptors are automatically closed"
		return nil, nil, os.NewSyscallError("recvmsg", unix.EMFILE)
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlled])
	if err != nil {
		return nil, nil, os.NewSyscallError("recvmsg", err)
	}
	for _, m := range messages {
		rights, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, nil, err
		}
		fds = append(fds, rights...)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return ctlsock.Decode(buf[:n]), fds, nil
}
