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

	"example.com/lifecycle/internal/ctlsock"
	"example.com/lifecycle/internal/execve"
	"example.com/lifecycle/internal/procattr"
	"example.com/lifecycle/internal/secureenv"
)

// markVariable makes a start a stage: "1:" or "2:" and the device and inode of the socket that is its stdout. Whoever cannot give us that
// socket, as a stray or forged variable cannot, is no launcher. Nor is another user: he can forge
// mark and socket, and so tell a program that is setuid root where to have its root directory. Who
// calls a program with file capabilities is the same user, so that one believes nobody.
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
			report(Stage1{Error: err.Error()})
			os.Exit(1)
		}
		os.Exit(0)
	case "2":
		if err := inherit(); err != nil {
			report(Stage1{Error: err.Error()})
			os.Exit(1)
		}
	}
}

// report writes a message to the socket that is stdout.
func report(message any) {
	if line, err := ctlsock.Encode(message); err == nil {
		os.Stdout.Write(line)
	}
}

// errNoLauncher says that there is nobody any more who waits for this start.
var errNoLauncher = errors.New("the launcher is gone")

// startDetached is stage 1: it finishes go-daemon's part and starts the detached process, which is no session leader, for that is this one. The
// signals, descriptors, limits and priorities of whoever called the launcher end here.
func startDetached(socket string) error {
	if err := finishReborn(); err != nil {
		return fmt.Errorf("stage 1: %w", err)
	}
	os.Unsetenv(daemon.MARK_NAME)
	if ctlsock.IsGone(stdout) {
		return errNoLauncher
	}
	if err := execve.CloseOnExec(firstOther); err != nil {
		return fmt.Errorf("stage 1: cannot close descriptors: %w", err)
	}
	// A signal that is caught is back to its default in what is executed; one that is ignored stays so (execve(2)).
	if ignored := execve.IgnoredSignals(); len(ignored) > 0 {
		signal.Notify(make(chan os.Signal, 1), ignored...)
	}
	runtime.LockOSThread() // the mask is the thread's, and what it forks inherits it
	execve.EmptySignalMask()
	execve.DefaultRuntimeSignals()
	procattr.Reset()
	// Not os.StartProcess, which forks once more to find out whether it can wait with a pidfd: nobody waits here.
	path := execve.ThisProgram()
	pid, err := syscall.ForkExec(path, os.Args, &syscall.ProcAttr{
		Env:   append(os.Environ(), markVariable+"=2:"+socket),
		Files: []uintptr{stdin, stdout, stderr},
	})
	if err != nil {
		return fmt.Errorf("stage 1: %w", &os.PathError{Op: "fork/exec", Path: path, Err: err})
	}
	report(Stage1{PID: pid}) // it says so itself too, if it comes to that
	return nil
}

// finishReborn finishes go-daemon's part, but has it obey nothing that it is sent. There is nothing in it for us, and whoever calls a program with
// file capabilities himself could have it change its root directory.
func finishReborn() error {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // the launcher may wait for that
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

// inherit is the beginning of the detached process: it takes what it is given, and gives up the socket as its stdout.
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
		return errNoLauncher
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
		return errNoLauncher
	}
	go inherited.watch()
	for i, fd := range fds {
		inherited.Files = append(inherited.Files, os.NewFile(uintptr(fd), n.Names[i]))
	}
	execve.NameProcess(filepath.Base(os.Args[0]))
	return nil
}

// receive reads the note.
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
		return nil, nil, errNoLauncher
	}
	if flags&unix.MSG_CTRUNC != 0 { // unix(7): beyond RLIMIT_NOFILE, "the excess file descriptors are automatically closed"
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
