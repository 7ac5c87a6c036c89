// Package rawconn makes system calls on the descriptor of an open file.
//
// No Close takes the descriptor away during such a call, and the file stays as it is: os.File.Fd
// would make it block (up to Go 1.25), and with it each copy of it, such as the one in a
// net.Listener, whose Accept nothing could end then.
package rawconn

import "syscall"

// Control calls do with the descriptor of c, again whenever a signal interrupts it, and returns its
// error.
func Control(c syscall.Conn, do func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = uninterrupted(fd, do) }); err != nil {
		return err
	}
	return result
}

// Read is like Control. While do returns EAGAIN, it waits until c is readable and calls it again.
// Only a file that is in Go's poller can be waited for.
func Read(c syscall.Conn, do func(fd int) error) error {
	return wait(c, syscall.RawConn.Read, do)
}

// Write is like Read, and waits until c is writable.
func Write(c syscall.Conn, do func(fd int) error) error {
	return wait(c, syscall.RawConn.Write, do)
}

func wait(c syscall.Conn, until func(syscall.RawConn, func(uintptr) bool) error, do func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = until(raw, func(fd uintptr) (done bool) {
		result = uninterrupted(fd, do)
		return result != syscall.EAGAIN
	})
	if err != nil {
		return err
	}
	return result
}

func uninterrupted(fd uintptr, do func(fd int) error) error {
	for {
		if err := do(int(fd)); err != syscall.EINTR {
			return err
		}
	}
}
