package sdnotify

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFiles is what systemd takes (sd_pid_notify_with_fds(3)); messages may be longer than the 4096 bytes that it takes.
const (
	maxMessage = 64 << 10
	maxFiles   = 253
)

// listen lets the kernel choose a name in the abstract namespace (unix(7), autobind): it leaves no file, and a service finds it behind a chroot too.
func listen() (*Server, error) {
	fd, err := socket()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "notify")
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{})
	}
	var name unix.Sockaddr
	if err == nil {
		name, err = unix.Getsockname(fd)
	}
	if err != nil {
		file.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return &Server{Address: name.(*unix.SockaddrUnix).Name, file: file}, nil
}

func (s *Server) receive() (m Message, err error) {
	if s.buf == nil {
		s.buf, s.control = make([]byte, maxMessage), make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxFiles))
	}
	buf, control := s.buf, s.control
	raw, err := s.file.SyscallConn()
	if err != nil {
		return m, err
	}
	var n, controlled, flags int
	readErr := raw.Read(func(fd uintptr) (done bool) {
		n, controlled, flags, _, err = unix.Recvmsg(int(fd), buf, control, unix.MSG_CMSG_CLOEXEC)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if readErr != nil {
		return m, os.ErrClosed
	}
	if err != nil {
		return m, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlled])
	if err != nil {
		return m, errNoMessage
	}
	for _, c := range messages {
		if credentials, err := unix.ParseUnixCredentials(&c); err == nil {
			m.PID = int(credentials.Pid)
		} else if fds, err := unix.ParseUnixRights(&c); err == nil {
			for _, fd := range fds {
				m.Files = append(m.Files, os.NewFile(uintptr(fd), "stored"))
			}
		}
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		m.Close()
		return Message{}, errNoMessage
	}
	m.Lines = strings.Split(strings.TrimSuffix(string(buf[:n]), "\n"), "\n")
	return m, nil
}
