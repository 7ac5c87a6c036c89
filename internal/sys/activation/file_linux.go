package activation

import (
	"encoding/binary"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// isBoundTo reports whether the socket was bound to that file. It returns true if the kernel does
// not report the file.
func isBoundTo(f *os.File, file fs.FileInfo) bool {
	inode, ok := boundInode(f)
	st, isStat := file.Sys().(*syscall.Stat_t)
	return !ok || isStat && inode == uint32(st.Ino)
}

// boundInode asks the kernel to which file the socket was bound (sock_diag(7)). It needs no
// privilege.
func boundInode(f *os.File) (inode uint32, ok bool) {
	info, err := f.Stat()
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	// The kernel normally answers before sendto returns. The limit applies if it does not.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
	if unix.Sendto(fd, fileRequest(uint32(st.Ino)), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return 0, false
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return 0, false
	}
	return parseFile(answer[:n], uint32(st.Ino))
}

const (
	headerSize  = 16 // struct nlmsghdr
	messageSize = 16 // struct unix_diag_msg
	showFile    = 2  // UDIAG_SHOW_VFS
	fileKind    = 1  // UNIX_DIAG_VFS
)

var order = binary.NativeEndian

// fileRequest returns a struct unix_diag_req for one socket.
func fileRequest(socket uint32) []byte {
	const size = headerSize + 24
	b := make([]byte, size)
	order.PutUint32(b, size)
	order.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	order.PutUint16(b[6:], unix.NLM_F_REQUEST)
	b[headerSize] = unix.AF_UNIX
	order.PutUint32(b[headerSize+4:], ^uint32(0)) // any state
	order.PutUint32(b[headerSize+8:], socket)
	order.PutUint32(b[headerSize+12:], showFile)
	order.PutUint32(b[headerSize+16:], ^uint32(0)) // no cookie
	order.PutUint32(b[headerSize+20:], ^uint32(0))
	return b
}

// parseFile returns the inode of the file from an answer about that socket.
func parseFile(b []byte, socket uint32) (inode uint32, ok bool) {
	if len(b) < headerSize+messageSize || order.Uint16(b[4:]) != unix.SOCK_DIAG_BY_FAMILY ||
		order.Uint32(b[headerSize+4:]) != socket {
		return 0, false
	}
	for b = b[headerSize+messageSize:]; len(b) >= 4; {
		size := int(order.Uint16(b))
		if size < 4 || size > len(b) {
			return 0, false
		}
		if order.Uint16(b[2:]) == fileKind && size >= 8 {
			return order.Uint32(b[4:]), true
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return 0, false
}
