// Package rawconn makes system calls on the descriptor of an open file.
//
// During such a call, the descriptor cannot be closed, and the file keeps its mode. os.File.Fd
// would make the file and all its copies blocking (up to Go 1.25). If a net.Listener had one of the
// copies, Close could no longer end its Accept.
package rawconn

import "syscall"

// Control calls do with the descriptor of c and returns its error. It calls do again if a signal
// interrupts it.
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

// Read does the same as Control. While do returns EAGAIN, it waits until c is readable and calls do
// again. It works only for a file in Go's poller.
func Read(c syscall.Conn, do func(fd int) error) error {
	return wait(c, syscall.RawConn.Read, do)
}

// Write does the same as Read, but waits until c is writable.
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
