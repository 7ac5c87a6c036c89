package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/safefile"
)

// storePatience is how long a manager may take to close its copy of a socket. Nobody can bind to
// the address until then.
const storePatience = time.Second

// bind binds a socket for the request. It waits a moment for a manager that is about to close its
// copy.
func bind(r request) (socketConn, error) {
	if err := r.guard(); err != nil {
		return socketConn{}, err
	}
	for {
		until := fdstore.LastRemoved().Add(storePatience)
		here := r.path != "" && fdstore.Uses(r.path)
		conn, err := r.bindOnce()
		if !errors.Is(err, syscall.EADDRINUSE) {
			return conn, err
		}
		if here {
			return conn, fmt.Errorf("%w: this process listens there already", err)
		}
		if r.path != "" {
			dead, why := removeDeadSocket(r.network, r.path)
			if dead {
				if conn, err = r.bindOnce(); !errors.Is(err, syscall.EADDRINUSE) {
					return conn, err
				}
			} else if why != "" {
				err = fmt.Errorf("%w: %s", err, why)
			}
		}
		if time.Now().After(until) {
			return conn, err
		}
		time.Sleep(time.Millisecond)
	}
}

// guard returns an error if this process is root and another user decides where the socket file is made.
// That user could also have root remove a file elsewhere. Others than root can reach no more than they may.
func (r request) guard() error {
	if r.path == "" {
		return nil
	}
	err := safefile.GuardEntry(r.path)
	if !errors.Is(err, safefile.ErrUnsafe) {
		return nil // if the directory is missing, the bind says so
	}
	cause := fmt.Errorf("%w: as root, listen where only root can write the directories, or start as the user",
		safefile.Cause(r.path, err))
	return &net.OpError{Op: "listen", Net: r.network, Addr: &net.UnixAddr{Name: r.path, Net: r.network}, Err: cause}
}

// removeDeadSocket removes a socket file at which nobody listens, or says why not. The kernel
// cannot do that in one step with the bind (unix(7)): a file that another process creates at the
// path between the last look and the unlink is lost, and so is a socket that it has bound just then
// and does not listen at yet. The PID file keeps two starts of one daemon apart.
func removeDeadSocket(network, path string) (removed bool, why string) {
	before, err := os.Lstat(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), err.Error()
	}
	if before.Mode().Type() != fs.ModeSocket {
		return false, "it is no socket"
	}
	conn, err := net.Dial(network, path)
	if err == nil {
		conn.Close()
		return false, "somebody listens there"
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return false, "cannot tell whether somebody listens there: " + err.Error()
	}
	if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
		return false, "somebody else is about to listen there"
	}
	if err := os.Remove(path); err != nil {
		return false, err.Error()
	}
	return true, ""
}

// fileOf is the socket file that was made with conn. Package net would remove whatever is at the
// path when conn is closed, so it is told not to.
func fileOf(r request, conn socketConn) fs.FileInfo {
	if r.path == "" {
		return nil
	}
	if l, ok := conn.listener.(*net.UnixListener); ok {
		l.SetUnlinkOnClose(false)
	}
	info, _ := os.Lstat(r.path)
	return info
}
