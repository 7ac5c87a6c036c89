package ctlsock

import (
	"os"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/privilege"
)

func madeByUs(fd int) bool {
	if privilege.IsFileCapable() { // its caller has the same user
		return false
	}
	by, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(by.Uid) == os.Geteuid() && int(by.Gid) == os.Getegid() &&
		unnamed(unix.Getsockname(fd)) && unnamed(unix.Getpeername(fd))
}

// unnamed reports whether the address is that of an end of a pair. A client of a service of root
// has a socket with root as its peer too, but there one of the two ends has an address.
func unnamed(address unix.Sockaddr, err error) bool {
	a, ok := address.(*unix.SockaddrUnix)
	return err == nil && ok && a.Name == "@" // an address without a name reads so (unix(7), unnamed)
}
