package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"example.com/lifecycle/internal/activation"
)

// patienceForStore is how long a manager may take to let go of a socket: until then nobody else can bind there.
const patienceForStore = time.Second

// bind binds what is asked for, at once or when who has it lets go of it.
func (t *socketTable) bind(r request) (socketConn, error) {
	for {
		t.mu.Lock()
		until := t.freed.Add(patienceForStore)
		here := slices.ContainsFunc(t.open, func(s *socket) bool { return r.path != "" && s.path == r.path })
		t.mu.Unlock()
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

// removeDeadSocket removes a socket file at which nobody listens, or says why not. unix(7) has no way to do it in one step with the bind: what a stranger makes of
// the path between the last look and the unlink is lost, and so is a socket that he has bound in this instant and does not listen at yet. Two starts of one daemon
// are kept apart by its PID file.
func removeDeadSocket(network, path string) (removed bool, why string) {
	before, err := os.Lstat(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), plain(err)
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
		return false, "cannot tell whether somebody listens there: " + plain(err)
	}
	if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
		return false, "somebody else is about to listen there"
	}
	if err := os.Remove(path); err != nil {
		return false, plain(err)
	}
	return true, ""
}

// removeSocketFile removes the file of a unix socket that was kept for another process, and closes it: for who kept it, at the end. It does nothing to one at which somebody still
// listens or that has no file, nor to one with a relative path, for that was the other process's.
func removeSocketFile(f *os.File) {
	path, network := activation.Path(f), activation.Network(f)
	f.Close()
	if filepath.IsAbs(path) && network != "" {
		removeDeadSocket(network, path)
	}
}

// fileOf is the socket file that was made with conn. It is tempting to leave it to package net to remove it: but that does so without a look, though the path may be
// somebody else's by then.
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

// removeFile removes the socket file, unless the path names another by now.
func (s *socket) removeFile() {
	if s.file == nil {
		return
	}
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(s.file, now) {
		_ = os.Remove(s.path)
	}
}
