//go:build unix && !aix

package detach

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sevlyar/go-daemon"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/ctlsock"
	"example.com/lifecycle/internal/privilege"
	"example.com/lifecycle/internal/rawconn"
)

// note is the first message, with the descriptors.
type note struct {
	Note           json.RawMessage
	Stdout, Stderr bool     // the first of the files is for that
	Names          []string // of the other files
}

// Stage1 is what stage 1 has to say.
type Stage1 struct {
	PID   int    `json:"pid,omitempty"` // of the detached process
	Error string `json:"error,omitempty"`
}

const (
	// maxNote is how long the note may be, to come in one piece.
	maxNote = 32 << 10
	// maxFiles is how many descriptors come with it at most (SCM_MAX_FD, unix(7)).
	maxFiles = 253
)

var errNoteTooLong = fmt.Errorf("what the detached process is told is longer than %d bytes", maxNote)

func start(o Spec, cancel <-chan struct{}) (*Peer, error) {
	ours, theirs, err := ctlsock.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	if privilege.IsFileCapable() {
		ours.Close()
		return nil, errFileCapable
	}
	if !ctlsock.MadeByUs(int(theirs.Fd())) { // stage 1 would not take it
		ours.Close()
		return nil, errSetuid
	}
	peer := NewPeer(ours)
	child, err := reborn(o.Args, theirs, cancel)
	if child == nil {
		ours.Close()
		return nil, err
	}
	peer.stage1, peer.stage1Over = child, make(chan struct{})
	go func() {
		peer.stage1How, _ = child.Wait()
		close(peer.stage1Over)
	}()
	// Not before: where go-daemon waits for a stage 1 that does not read its environment, the start is given up without that process being known, and
	// the lock, which is in what is given, would stay with it. From here on stage 1 can be killed.
	if err := give(ours, o); err != nil && !errors.Is(err, unix.EPIPE) {
		child.Kill()
		<-peer.stage1Over
		ours.Close()
		return nil, err
	}
	return peer, nil
}

// errSetuid says that stage 1 could not tell a launcher from whoever called it.
var errSetuid = errors.New("cannot detach with a real user or group that is not the effective one")

// errFileCapable says that stage 1 could not tell a launcher from whoever called it, for he is the
// same user.
var errFileCapable = fmt.Errorf("cannot detach: %w", privilege.ErrFileCapable)

// errCancelled says that it was not waited for the start of stage 1 any longer.
var errCancelled = errors.New("the program does not get to its init")

// reborn starts stage 1. go-daemon sends it the environment through a pipe, and one that is larger than the pipe makes it wait for that process.
func reborn(args []string, socket *os.File, cancel <-chan struct{}) (*os.Process, error) {
	select {
	case <-cancel:
		return nil, errCancelled
	default:
	}
	mark, err := ctlsock.Mark(socket)
	if err != nil {
		return nil, err
	}
	forGoDaemon, err := dup(socket) // it closes what it gets
	if err != nil {
		return nil, err
	}
	// Somebody else's mark would make Reborn take this process for its child.
	os.Unsetenv(daemon.MARK_NAME)
	type result struct {
		child *os.Process
		err   error
	}
	done := make(chan result, 1)
	go func() {
		context := daemon.Context{Args: args, Env: append(os.Environ(), markVariable+"=1:"+mark)}
		context.SetLogFile(forGoDaemon)
		child, err := context.Reborn()
		done <- result{child, err}
	}()
	select {
	case r := <-done:
		if r.child == nil {
			return nil, fmt.Errorf("cannot start %s: %w", args[0], r.err)
		}
		return r.child, nil // if it has died meanwhile, the end of the socket tells
	case <-cancel:
	}
	end := func(r result) {
		if r.child != nil {
			_ = r.child.Kill()
			_, _ = r.child.Wait()
		}
	}
	select { // it is ended here, unless it keeps us waiting
	case r := <-done:
		end(r)
	case <-time.After(time.Second):
		go func() { end(<-done) }()
	}
	return nil, errCancelled
}

// give sends what the detached process is given. It reads it whenever it comes to that.
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
		n.Names = append(n.Names, f.Name())
	}
	line, err := ctlsock.Encode(n)
	if err == nil && len(line) > maxNote {
		err = errNoteTooLong
	}
	if err != nil {
		return err
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
		return errNoteTooLong
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
