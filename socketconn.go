package lifecycle

import (
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"example.com/lifecycle/internal/activation"
)

// request is what Listen or ListenPacket was asked for.
type request struct {
	call, network, address string
	where                  string // in the program
	path                   string // of the socket file, "" for a socket that has none
}

// newRequest is for the two that are called by the program.
func newRequest(call, network, address string) request {
	r := request{call: call, network: network, address: address}
	_, file, line, _ := runtime.Caller(2)
	r.where = filepath.Base(file) + ":" + strconv.Itoa(line)
	if strings.HasPrefix(network, "unix") && address != "" && !strings.HasPrefix(address, "@") {
		r.path, _ = filepath.Abs(address) // the working directory can change
	}
	return r
}

// name is what a manager knows the socket by: network and address, behind a number where there are several, as there can be with ":0".
func (r request) name(n int) string {
	key := r.network + ":" + r.address
	if n > 1 {
		key = strconv.Itoa(n) + ":" + key
	}
	return activation.Name(key)
}

// fits says whether a socket of that network is one of those that were asked for: tcp6 is a tcp.
func (r request) fits(network string) bool {
	return network != "" && (network == r.network || network == r.network+"4" || network == r.network+"6")
}

// resolve returns what says whether a socket that is bound there is the one that was asked for.
func (r request) resolve() func(net.Addr) bool {
	var host net.IPAddr
	var port int
	switch r.network {
	case "tcp", "tcp4", "tcp6":
		if a, err := net.ResolveTCPAddr(r.network, r.address); err == nil {
			host, port = net.IPAddr{IP: a.IP, Zone: a.Zone}, a.Port
		}
	case "udp", "udp4", "udp6":
		if a, err := net.ResolveUDPAddr(r.network, r.address); err == nil {
			host, port = net.IPAddr{IP: a.IP, Zone: a.Zone}, a.Port
		}
	}
	return func(bound net.Addr) bool {
		switch a := bound.(type) {
		case *net.TCPAddr:
			return port != 0 && port == a.Port && sameHost(host, net.IPAddr{IP: a.IP, Zone: a.Zone})
		case *net.UDPAddr:
			return port != 0 && port == a.Port && sameHost(host, net.IPAddr{IP: a.IP, Zone: a.Zone})
		case *net.UnixAddr:
			return a.Name != "" && (a.Name == r.address || a.Name == r.path)
		}
		return false
	}
}

// sameHost says whether both are the same address, or both all of them: with :: the kernel serves 0.0.0.0 too (ipv6(7), IPV6_V6ONLY).
func sameHost(a, b net.IPAddr) bool {
	all := func(ip net.IP) bool { return ip == nil || ip.IsUnspecified() }
	return all(a.IP) && all(b.IP) || a.IP.Equal(b.IP) && a.Zone == b.Zone
}

// socketConn is one of those that package net returns.
type socketConn struct {
	socketMethods
	listener net.Listener   // the same, if it is one
	packets  net.PacketConn // else
}

type socketMethods interface {
	io.Closer
	syscall.Conn
	File() (*os.File, error)
}

func (c socketConn) address() net.Addr {
	if c.listener != nil {
		return c.listener.Addr()
	}
	return c.packets.LocalAddr()
}

// bindOnce is net.Listen or net.ListenPacket.
func (r request) bindOnce() (c socketConn, err error) {
	if r.call == "Listen" {
		l, err := net.Listen(r.network, r.address)
		return listenerConn(l, err)
	}
	p, err := net.ListenPacket(r.network, r.address)
	return packetsConn(p, err)
}

// from makes it of a file, which stays open.
func (r request) from(f *os.File) (c socketConn, err error) {
	if r.call == "Listen" {
		l, err := net.FileListener(f)
		return listenerConn(l, err)
	}
	p, err := net.FilePacketConn(f)
	return packetsConn(p, err)
}

func listenerConn(l net.Listener, err error) (socketConn, error) {
	if err != nil {
		return socketConn{}, err
	}
	return socketConn{socketMethods: l.(socketMethods), listener: l}, nil
}

func packetsConn(p net.PacketConn, err error) (socketConn, error) {
	if err != nil {
		return socketConn{}, err
	}
	return socketConn{socketMethods: p.(socketMethods), packets: p}, nil
}

// socket is an open one.
type socket struct {
	request
	conn   socketConn
	fdName string      // for the manager
	given  bool        // this process has not bound it
	file   fs.FileInfo // the socket file that it has made, if any

	mu     sync.Mutex
	stored bool
	closed bool
}

// store gives the manager a copy, unless it has one. It is tempting to store what a socket unit has given too, but systemd keeps that anyway.
func (s *socket) store(m *manager) {
	if m == nil || m.room <= 0 || s.given {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.stored {
		return
	}
	if !sockets.reserve(m) {
		m.log.Warn("the service manager keeps no more sockets", "most", m.room, "network", s.network, "address", s.address)
		return
	}
	f, err := s.conn.File()
	if err == nil {
		err = m.store(s.fdName, f)
		f.Close()
	}
	if s.stored = err == nil; !s.stored {
		sockets.unreserve()
		m.log.Warn("the service manager does not get a socket to keep", "network", s.network, "address", s.address, "err", err)
	}
}

// close closes it. What somebody else will go on listening with, and what can be asked for again, is kept for that: to bind it again would fail.
func (s *socket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.conn.Close() // which says so
	}
	s.closed = true
	phase := sockets.phase()
	switch {
	case phase < Stopping && s.given && !s.stored, phase == Starting && s.stored:
		if f, err := s.conn.File(); err == nil {
			sockets.remove(s, &activation.Socket{Name: s.fdName, File: f})
			return s.conn.Close()
		}
	case phase < Stopping && s.stored:
		sockets.forget(s.fdName)
		s.removeFile()
	case !s.stored:
		s.removeFile()
	}
	sockets.remove(s, nil)
	return s.conn.Close()
}

// listener is what Listen returns. It embeds what is behind it, so that who wants its SyscallConn or its deadlines, finds them.
func (s *socket) listener() net.Listener {
	switch l := s.conn.listener.(type) {
	case *net.TCPListener:
		return &tcpListener{l, s}
	case *net.UnixListener:
		return &unixListener{l, s}
	}
	return s.conn.listener
}

func (s *socket) packetConn() net.PacketConn {
	switch c := s.conn.packets.(type) {
	case *net.UDPConn:
		return &udpConn{c, s}
	case *net.UnixConn:
		return &unixConn{c, s}
	case *net.IPConn:
		return &ipConn{c, s}
	}
	return s.conn.packets
}

type (
	tcpListener struct {
		*net.TCPListener
		socket *socket
	}
	unixListener struct {
		*net.UnixListener
		socket *socket
	}
	udpConn struct {
		*net.UDPConn
		socket *socket
	}
	unixConn struct {
		*net.UnixConn
		socket *socket
	}
	ipConn struct {
		*net.IPConn
		socket *socket
	}
)

func (l *tcpListener) Close() error  { return l.socket.close() }
func (l *unixListener) Close() error { return l.socket.close() }
func (c *udpConn) Close() error      { return c.socket.close() }
func (c *unixConn) Close() error     { return c.socket.close() }
func (c *ipConn) Close() error       { return c.socket.close() }
