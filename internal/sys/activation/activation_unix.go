//go:build unix && !aix

package activation

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

// take stops at the first descriptor that is not open. If LISTEN_FDS is too large, it reaches
// descriptors of the Go runtime and skips them, because they are not sockets.
func take(names []string) (all []Socket) {
	for i, name := range names {
		fd := first + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			break
		}
		unix.CloseOnExec(fd)
		if isSocket(fd) || isFile(name) {
			all = append(all, Socket{name, os.NewFile(uintptr(fd), name)})
		}
	}
	return all
}

func isSocket(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK
}

func isFile(name string) bool {
	key, ok := Key(name)
	return ok && strings.HasPrefix(key, FilePrefix)
}

func network(f *os.File) (name string) {
	_ = rawconn.Control(f, func(fd int) error {
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil {
			return err
		}
		if kind != unix.SOCK_DGRAM {
			listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
			if err != nil || listens == 0 {
				return err
			}
		}
		address, err := unix.Getsockname(fd)
		if err == nil {
			name = networkOf(kind, address)
		}
		return err
	})
	return name
}

func networkOf(kind int, address unix.Sockaddr) string {
	var ofKind map[int]string
	switch address.(type) {
	case *unix.SockaddrInet4:
		ofKind = map[int]string{unix.SOCK_STREAM: "tcp4", unix.SOCK_DGRAM: "udp4"}
	case *unix.SockaddrInet6:
		ofKind = map[int]string{unix.SOCK_STREAM: "tcp6", unix.SOCK_DGRAM: "udp6"}
	case *unix.SockaddrUnix:
		ofKind = map[int]string{unix.SOCK_STREAM: "unix", unix.SOCK_DGRAM: "unixgram", unix.SOCK_SEQPACKET: "unixpacket"}
	}
	return ofKind[kind]
}

func path(f *os.File) (name string) {
	_ = rawconn.Control(f, func(fd int) error {
		address, err := unix.Getsockname(fd)
		at, ok := address.(*unix.SockaddrUnix)
		if ok && !strings.HasPrefix(at.Name, "@") { // an abstract name has no file
			name = at.Name
		}
		return err
	})
	return name
}
