package lifeline

import (
	"os"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/privilege"
)

func madeByUs(fd int) bool {
	if privilege.IsFileCapable() { // the caller is the same user
		return false
	}
	by, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(by.Uid) == os.Geteuid() && int(by.Gid) == os.Getegid() && nameless(unix.Getsockname(fd)) && nameless(unix.Getpeername(fd))
}

// nameless says whether it is an end of a pair. Who connects to a service of root's has a socket of which root is the peer as well, but that has an address.
func nameless(address unix.Sockaddr, err error) bool {
	a, ok := address.(*unix.SockaddrUnix)
	return err == nil && ok && a.Name == "@" // which is how an address without a name is read (unix(7), unnamed)
}
