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
	"example.com/lifecycle/internal/sys/safefile"
)

// storePatience is how long a manager may take to close its copy of a socket. Until then the
// address is in use.
const storePatience = time.Second

// bind binds a socket for the request. It waits for a manager that is about to close its copy.
func bind(r request) (socketConn, error) {
	if err := r.guard(); err != nil {
		return socketConn{}, err
	}
	for {
		until := fdstore.LastRemoved().Add(storePatience)
		here := r.path != "" && fdstore.Uses(r.path)
		conn, err := r.bindOnce()
		if !errors.Is(err, syscall.EADDRINUSE) {
			return conn, r.advise(err)
		}
		if here {
			return conn, fmt.Errorf("%w: this process already listens there", err)
		}
		if r.path != "" {
			dead, why := removeDeadSocket(r.network, r.path, r.socketAddress())
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

// advise adds advice for the user to the error of a bind, if it knows any.
func (r request) advise(err error) error {
	advice := ""
	if errors.Is(err, fs.ErrPermission) {
		if r.path != "" {
			advice = safefile.Advice(r.path, &fs.PathError{Op: "bind", Path: r.path, Err: fs.ErrPermission})
		} else if port := portOf(err); port > 0 && port < 1024 {
			advice = "a port below 1024 needs root or the capability CAP_NET_BIND_SERVICE"
		}
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}

// portOf returns the port of a failed bind, or 0 if there is none.
func portOf(err error) int {
	var failed *net.OpError
	if errors.As(err, &failed) {
		switch a := failed.Addr.(type) {
		case *net.TCPAddr:
			return a.Port
		case *net.UDPAddr:
			return a.Port
		}
	}
	return 0
}

// maxPath is the greatest length of the path of a socket (unix(7)). Go needs a zero byte after the
// path.
const maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// guard returns an error if the path is too long, or if this process is root and another user
// controls the path. That user could make root remove any file. A process of another user can only
// remove files that its own user may remove.
func (r request) guard() error {
	if r.noPath != nil {
		return &net.OpError{Op: "listen", Net: r.network, Addr: &net.UnixAddr{Name: r.address, Net: r.network}, Err: r.noPath}
	}
	if r.path == "" {
		return nil
	}
	if address := r.socketAddress(); len(address) > maxPath {
		cause := fmt.Errorf("the path has %d bytes, but the path of a socket has at most %d: %w",
			len(address), maxPath, syscall.EINVAL)
		return &net.OpError{Op: "listen", Net: r.network, Addr: &net.UnixAddr{Name: address, Net: r.network}, Err: cause}
	}
	err := safefile.GuardEntry(r.path)
	if !errors.Is(err, safefile.ErrUnsafe) {
		return nil // a missing directory is an error of the bind
	}
	cause := fmt.Errorf("%w: as root, use a directory that only root can write, or start as the user",
		safefile.Cause(r.path, err))
	return &net.OpError{Op: "listen", Net: r.network, Addr: &net.UnixAddr{Name: r.path, Net: r.network}, Err: cause}
}

// removeDeadSocket removes a socket file without a listener, or returns the reason why it does not.
// The kernel cannot do that in one step with the bind (unix(7)). So between the last check and the
// removal, another process may create a file at the path, and removeDeadSocket removes that file.
// It also removes a socket that another process has bound but does not listen on yet. The PID file
// prevents this between two starts of one daemon.
func removeDeadSocket(network, path, address string) (removed bool, why string) {
	before, err := os.Lstat(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), err.Error()
	}
	if before.Mode().Type() != fs.ModeSocket {
		return false, "the file is not a socket"
	}
	conn, err := net.Dial(network, address)
	if err == nil {
		conn.Close()
		return false, "another process listens there"
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return false, "cannot find out whether another process listens there: " + err.Error()
	}
	if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
		return false, "another process is about to listen there"
	}
	if err := os.Remove(path); err != nil {
		return false, err.Error()
	}
	return true, ""
}

// fileOf returns the socket file of conn. It prevents package net from removing the file when conn
// is closed, because the path may then name another file.
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
