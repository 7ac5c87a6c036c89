package socket

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/startup"
)

// request is one call of Listen or ListenPacket.
type request struct {
	call, network, address string
	where                  string // file and line of the call in the program
	path                   string // of the socket file, absolute; "" if the socket has no file
	noPath                 error  // why the path is unknown
}

// newRequest returns a request. Only Listen and ListenPacket may call it directly, because it
// records the line that called them.
func newRequest(call, network, address string) request {
	r := request{call: call, network: network, address: address}
	_, file, line, _ := runtime.Caller(2)
	r.where = filepath.Base(file) + ":" + strconv.Itoa(line)
	if strings.HasPrefix(network, "unix") && address != "" && !strings.HasPrefix(address, "@") {
		r.path, r.noPath = startup.Abs(address)
	}
	return r
}

// socketAddress returns the address for package net. The path of a socket file is absolute, because
// the working directory may have changed. If the absolute path is too long, socketAddress returns
// the relative path, provided that it still means the same file.
func (r request) socketAddress() string {
	switch {
	case r.path == "", len(r.path) > maxPath && safefile.SameEntry(r.address, r.path):
		return r.address
	}
	return r.path
}

// name returns the name of the socket in the manager: its network and address. If several sockets
// have the same network and address, as with ":0", the names of all but the first begin with a
// number.
func (r request) name(n int) string {
	key := r.network + ":" + r.address
	if n > 1 {
		key = strconv.Itoa(n) + ":" + key
	}
	return activation.Name(key)
}

// fits reports whether a socket of that network fits the request. A tcp6 socket fits tcp.
func (r request) fits(network string) bool {
	return network != "" &&
		(network == r.network || network == r.network+"4" || network == r.network+"6")
}

// resolve returns a function that reports whether a socket bound to an address fits the request.
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
			return a.Name != "" && (a.Name == r.address || r.path != "" && safefile.SameEntry(a.Name, r.path))
		}
		return false
	}
}

// sameHost reports whether a and b are the same address, or both mean all addresses. A socket on ::
// serves 0.0.0.0 too (ipv6(7), IPV6_V6ONLY).
func sameHost(a, b net.IPAddr) bool {
	all := func(ip net.IP) bool { return ip == nil || ip.IsUnspecified() }
	return all(a.IP) && all(b.IP) || a.IP.Equal(b.IP) && a.Zone == b.Zone
}

// socketConn is a listener or a packet connection of package net.
type socketConn struct {
	socketMethods
	listener net.Listener   // nil for a packet connection
	packets  net.PacketConn // nil for a listener
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

// bindOnce calls net.Listen or net.ListenPacket.
func (r request) bindOnce() (c socketConn, err error) {
	if r.call == "Listen" {
		l, err := net.Listen(r.network, r.socketAddress())
		return listenerConn(l, err)
	}
	p, err := net.ListenPacket(r.network, r.socketAddress())
	return packetsConn(p, err)
}

// from returns a socketConn that uses a duplicate of f.
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

// socket is a socket in use.
type socket struct {
	conn socketConn
	fd   *fdstore.Descriptor
}

// close closes fd first. At that moment fdstore may copy the socket, because a later call may claim
// it again.
func (s *socket) close() error {
	s.fd.Close()
	return s.conn.Close()
}

// listener returns the result of Listen. It embeds the listener of package net, so its other
// methods, such as SyscallConn and SetDeadline, are available.
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
