package ctlsock

import (
	"os"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/privilege"
)

func madeByUs(fd int) bool {
	if privilege.IsFileCapable() { // any caller of such a program has the same user
		return false
	}
	by, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(by.Uid) == os.Geteuid() && int(by.Gid) == os.Getegid() &&
		unnamed(unix.Getsockname(fd)) && unnamed(unix.Getpeername(fd))
}

// unnamed reports whether the address is the address of an end of a pair. A client of a service of
// root has a socket with root as its peer, too. But then one of the two ends has a name.
func unnamed(address unix.Sockaddr, err error) bool {
	a, ok := address.(*unix.SockaddrUnix)
	// An unnamed address is read as "@" (unix(7), unnamed).
	return err == nil && ok && a.Name == "@"
}
