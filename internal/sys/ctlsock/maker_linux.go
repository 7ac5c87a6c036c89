package ctlsock

import (
	"os"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/privilege"
)

func madeByUs(fd int) bool {
	if privilege.IsFileCapable() { // the caller has the same user as such a program
		return false
	}
	by, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(by.Uid) == os.Geteuid() && int(by.Gid) == os.Getegid() &&
		unnamed(unix.Getsockname(fd)) && unnamed(unix.Getpeername(fd))
}

// unnamed reports whether the address can belong to an end of a pair. For a client of a service of
// root, the peer is root too, but one of these two ends has a name.
func unnamed(address unix.Sockaddr, err error) bool {
	a, ok := address.(*unix.SockaddrUnix)
	// Package unix returns "@" for an unnamed address (unix(7), unnamed).
	return err == nil && ok && a.Name == "@"
}
