package sdnotify

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

// maxFiles is the limit of systemd too (sd_pid_notify_with_fds(3)). maxMessage is more than the
// 4096 bytes that systemd accepts.
const (
	maxMessage = 64 << 10
	maxFiles   = 253
)

// listen lets the kernel choose a name in the abstract namespace (unix(7), autobind). Such a name
// leaves no file, and a service can reach it from inside a chroot.
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
	return newServer(name.(*unix.SockaddrUnix).Name, file), nil
}

func newServer(address string, file *os.File) *Server {
	return &Server{
		Address: address, file: file, turn: make(chan struct{}, 1), queued: maxQueued(),
		buf: make([]byte, maxMessage), control: make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxFiles)),
	}
}

func adopt(s State, files []*os.File) (*Server, error) {
	if len(files) != s.Files() {
		for _, f := range files {
			f.Close()
		}
		return nil, fmt.Errorf("cannot adopt a notify socket with %d files instead of %d", len(files), s.Files())
	}
	adopted := newServer(string(s.Address), files[0])
	adopted.refusing.Store(s.Refusing)
	if len(files) == 2 {
		adopted.place = &place{path: string(s.Directory), lock: files[1]}
	}
	return adopted, nil
}

// shutdown makes every later send fail.
func (s *Server) shutdown() {
	if raw, err := s.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
}

// maxQueued returns how many datagrams can wait at a socket (unix(7)).
func maxQueued() int {
	text, _ := os.ReadFile("/proc/sys/net/unix/max_dgram_qlen")
	if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n > 0 {
		return min(n, 4096)
	}
	return 512
}

// await blocks until there is a datagram.
func (s *Server) await() error {
	if s.refusing.Load() { // wait until there is room for descriptors
		time.Sleep(10 * time.Millisecond)
		return nil
	}
	err := rawconn.Read(s.file, func(fd int) error {
		_, _, _, _, err := unix.Recvmsg(fd, nil, nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err == unix.EAGAIN || err == unix.EINTR {
			return err
		}
		return nil // next returns the same error
	})
	if err != nil {
		return os.ErrClosed
	}
	return nil
}

// next takes one datagram and does not block. It first inspects the sender, and copies nothing from
// an untrusted sender. The goroutines of Discard close unwanted descriptors, because close(2) may
// block.
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

// admit makes the kernel refuse all descriptors (SO_PASSRIGHTS, Linux 6.16) while too many are
// waiting to be closed. An older kernel still passes them on. take then leaves no room for them,
// and the kernel closes them during that call. take also does this for messages that were sent
// before the refusal.
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

// peek returns the sender and the length of the next datagram. It receives no descriptors, because
// it leaves no room for them.
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

// take takes the datagram that peek has inspected.
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
