package sdnotify

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/rawconn"
)

// maxFiles is what systemd takes (sd_pid_notify_with_fds(3)); messages may be longer than the 4096 bytes that it takes.
const (
	maxMessage = 64 << 10
	maxFiles   = 253
)

// listen lets the kernel choose a name in the abstract namespace (unix(7), autobind): it leaves no file, and a service
// finds it behind a chroot too.
func listen() (*Server, error) { return bindAt(&unix.SockaddrUnix{}) }

func bindAt(address unix.Sockaddr) (*Server, error) {
	fd, err := socket()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "notify")
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err == nil {
		err = unix.Bind(fd, address)
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if err != nil {
		file.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return &Server{
		Address: name.(*unix.SockaddrUnix).Name, file: file, turn: make(chan struct{}, 1), queued: maxQueued(),
		buf: make([]byte, maxMessage), control: make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxFiles)),
	}, nil
}

// shutdown has every sender fail from now on.
func (s *Server) shutdown() {
	if raw, err := s.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
}

// maxQueued is how many datagrams wait at a socket at most (unix(7)).
func maxQueued() int {
	text, _ := os.ReadFile("/proc/sys/net/unix/max_dgram_qlen")
	if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n > 0 {
		return min(n, 4096)
	}
	return 512
}

// await blocks until there is a datagram.
func (s *Server) await() error {
	if s.refusing.Load() { // until there is room for descriptors
		time.Sleep(10 * time.Millisecond)
		return nil
	}
	err := rawconn.Read(s.file, func(fd int) error {
		_, _, _, _, err := unix.Recvmsg(fd, nil, nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err == unix.EAGAIN || err == unix.EINTR {
			return err
		}
		return nil // next meets it, too
	})
	if err != nil {
		return os.ErrClosed
	}
	return nil
}

// next takes one datagram and does not wait for one. It looks first at who has sent it: of a stranger it copies
// nothing, and the descriptors that the kernel has passed on by then go where close(2) may sleep.
func (s *Server) next() (m Message, err error) {
	controlErr := rawconn.Control(s.file, func(fd int) error {
		s.admit(fd)
		var size int
		if m.PID, size, err = peek(fd); err != nil {
			return nil
		}
		trusted := s.trusts == nil || s.trusts(m.PID)
		if !trusted {
			s.strangers.Add(1)
		}
		m, err = s.take(fd, m.PID, trusted && size <= maxMessage)
		return nil
	})
	if controlErr != nil {
		return Message{}, os.ErrClosed
	}
	return m, err
}

// admit has the kernel refuse descriptors from everybody (SO_PASSRIGHTS, Linux 6.16) while too many are still to be
// closed. An older one passes them on; then take leaves no room for them, and the kernel closes them here. What was
// sent before needs that room: it may linger.
func (s *Server) admit(fd int) {
	if full := discards.isFull(); full != s.refusing.Load() {
		s.refusing.Store(full)
		passes := 1
		if full {
			passes = 0
		}
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, passes)
		s.cannotRefuse.Store(err != nil)
	}
}

// peek looks at who has sent the next datagram, and how long it is. There is room for no descriptor, so none comes.
func peek(fd int) (pid, size int, err error) {
	control := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	size, n, _, err := receive(fd, nil, control, unix.MSG_PEEK|unix.MSG_TRUNC)
	if err != nil {
		return 0, 0, err
	}
	messages, _ := unix.ParseSocketControlMessage(control[:n])
	for _, c := range messages {
		if credentials, err := unix.ParseUnixCredentials(&c); err == nil {
			pid = int(credentials.Pid)
		}
	}
	return pid, size, nil
}

// take takes the datagram at which peek has looked.
func (s *Server) take(fd, pid int, wanted bool) (Message, error) {
	buf, control := s.buf, s.control
	if !wanted {
		buf = nil
	}
	if s.refusing.Load() && s.cannotRefuse.Load() {
		control = control[:unix.CmsgSpace(unix.SizeofUcred)]
	}
	n, controlled, flags, err := receive(fd, buf, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return Message{}, err
	}
	var fds []int
	messages, _ := unix.ParseSocketControlMessage(control[:controlled])
	for _, c := range messages {
		if some, err := unix.ParseUnixRights(&c); err == nil {
			fds = append(fds, some...)
		}
	}
	if !wanted || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		for _, fd := range fds {
			discard(fd)
		}
		return Message{}, errNoMessage
	}
	m := Message{PID: pid, Text: string(buf[:n])}
	for _, fd := range fds {
		if canBeKept(fd) {
			m.Files = append(m.Files, os.NewFile(uintptr(fd), "stored"))
		} else {
			discard(fd)
			m.Refused++
		}
	}
	return m, nil
}

func receive(fd int, buf, control []byte, flags int) (n, controlled, got int, err error) {
	for {
		n, controlled, got, _, err = unix.Recvmsg(fd, buf, control, flags|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, 0, 0, errEmpty
		default:
			return n, controlled, got, os.NewSyscallError("recvmsg", err)
		}
	}
}
