//go:build unix && !aix

package detach

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/sevlyar/go-daemon"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/ctlsock"
	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/privilege"
	"example.com/lifecycle/internal/sys/rawconn"
)

// note is the first message. It comes with the descriptors.
type note struct {
	Note           json.RawMessage
	Stdout, Stderr bool     // set if the next descriptor is for it
	Names          [][]byte // of the remaining descriptors; not always UTF-8
}

// Stage1 is the report of stage 1.
type Stage1 struct {
	PID   int    `json:"pid,omitempty"` // of the detached process
	Error string `json:"error,omitempty"`
}

const (
	// maxNote is the greatest length of the note that arrives in one piece.
	maxNote = 32 << 10
	// maxFiles is the greatest number of descriptors in one message (SCM_MAX_FD, unix(7)).
	maxFiles = 253
)

func start(o Spec, cancel <-chan struct{}) (*Peer, error) {
	ours, theirs, err := ctlsock.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	// Stage 1 could not distinguish this launcher from the caller of the program.
	if privilege.IsFileCapable() {
		ours.Close()
		return nil, errors.New("cannot detach: " + privilege.WhyNotFileCapable)
	}
	if !ctlsock.MadeByUs(int(theirs.Fd())) { // stage 1 would not accept it
		ours.Close()
		return nil, errors.New("cannot detach: the real user or group differs from the effective one")
	}
	peer := NewPeer(ours)
	child, err := reborn(o.Args, o.Dir, theirs, cancel)
	if child == nil {
		ours.Close()
		return nil, err
	}
	peer.stage1, peer.stage1Over = child, make(chan struct{})
	go func() {
		peer.stage1How, _ = child.Wait()
		close(peer.stage1Over)
	}()
	// Send the descriptors only now. If stage 1 does not read its environment, reborn gives up
	// without knowing the process and cannot kill it. Such a process must not keep the descriptors,
	// because one of them is the lock.
	if err := give(ours, o); err != nil && !errors.Is(err, unix.EPIPE) {
		_ = child.Kill() // see Peer.Kill
		<-peer.stage1Over
		ours.Close()
		return nil, err
	}
	return peer, nil
}

// reborn starts stage 1. go-daemon sends the environment to stage 1 through a pipe. If the
// environment is larger than the pipe, go-daemon blocks until stage 1 reads it.
func reborn(args []string, dir string, socket *os.File, cancel <-chan struct{}) (*os.Process, error) {
	cancelled := errors.New("the program does not reach its init functions") // stage 1 has not begun
	select {
	case <-cancel:
		return nil, cancelled
	default:
	}
	mark, err := ctlsock.Mark(socket)
	if err != nil {
		return nil, err
	}
	selfArgs, err := execve.SelfArgs(args)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", args[0], err)
	}
	forGoDaemon, err := dup(socket) // go-daemon closes the descriptor that it gets
	if err != nil {
		return nil, err
	}
	// With an inherited mark, Reborn would treat this process as the child.
	os.Unsetenv(daemon.MARK_NAME)
	type result struct {
		child *os.Process
		err   error
	}
	done := make(chan result, 1)
	go func() {
		context := &daemon.Context{Args: selfArgs, WorkDir: dir, Env: append(os.Environ(), markVariable+"=1:"+mark)}
		start := context.Reborn
		if !hasPath() {
			start = func() (*os.Process, error) { return startUnnamed(context, forGoDaemon) }
		}
		context.SetLogFile(forGoDaemon)
		child, err := start()
		done <- result{child, err}
	}()
	select {
	case r := <-done:
		if r.child == nil {
			return nil, fmt.Errorf("cannot start %s: %w", args[0], r.err)
		}
		return r.child, nil // if stage 1 has died, the launcher detects that the socket is closed
	case <-cancel:
	}
	end := func(r result) {
		if r.child != nil {
			_ = r.child.Kill() // as in Peer.Kill
			_, _ = r.child.Wait()
		}
	}
	select { // kill stage 1 here, or in the background if go-daemon still blocks
	case r := <-done:
		end(r)
	case <-time.After(time.Second):
		go func() { end(<-done) }()
	}
	return nil, cancelled
}

// hasPath reports whether this program still has a path. It has none if its file was deleted, or is
// in memory (memfd_create(2)).
func hasPath() bool {
	path, err := os.Executable()
	if err == nil {
		_, err = os.Stat(path)
	}
	return !errors.Is(err, fs.ErrNotExist)
}

// startUnnamed is Reborn for a program without a path, because go-daemon executes only paths. Stage
// 1 needs no environment from its stdin.
func startUnnamed(context *daemon.Context, socket *os.File) (*os.Process, error) {
	defer socket.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	return os.StartProcess(execve.ThisProgram(), context.Args, &os.ProcAttr{
		Dir: context.WorkDir, Env: append(context.Env, daemon.MARK_NAME+"="+daemon.MARK_VALUE),
		Files: []*os.File{null, socket, socket, null}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
}

// give sends the note and the descriptors. It does not wait until the detached process reads them.
func give(conn *os.File, o Spec) error {
	text, err := json.Marshal(o.Note)
	if err != nil {
		return err
	}
	n := note{Note: text, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil}
	var fds []int
	for _, f := range append([]*os.File{o.Stdout, o.Stderr}, o.Files...) {
		if f != nil {
			fds = append(fds, int(f.Fd()))
		}
	}
	for _, f := range o.Files {
		n.Names = append(n.Names, []byte(f.Name()))
	}
	line, err := ctlsock.Encode(n)
	if err != nil {
		return err
	}
	tooLong := fmt.Errorf("the message to the detached process is longer than %d bytes", maxNote)
	if len(line) > maxNote {
		return tooLong
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	var sent int
	err = rawconn.Write(conn, func(fd int) (err error) {
		sent, err = unix.SendmsgN(fd, line, rights, nil, noSignal)
		return err
	})
	if err != nil {
		return os.NewSyscallError("sendmsg", err)
	}
	if sent < len(line) {
		return tooLong
	}
	return nil
}

func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func redirect(f *os.File, fd int) error { return dup2(int(f.Fd()), fd) }

func umask(mask int) { unix.Umask(mask) }
