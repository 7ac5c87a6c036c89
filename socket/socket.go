// Package socket opens sockets that outlive the process. During a restart or after a crash, clients
// wait and are not refused.
//
//	listener, err := socket.Listen("tcp", ":8080")
//
// A daemon of package lifecycle calls [Listen] in OnStart. Package lifecycle itself does not import
// package net, so a daemon without a network stays small.
package socket

import (
	"net"
	"os"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/sys/activation"
)

// Listen is net.Listen for a socket that outlives the process. If this process has inherited a
// socket for that network and address, Listen returns it. Otherwise it binds a new one. A process
// inherits the sockets of a systemd socket unit and the sockets that its manager keeps
// (sd_listen_fds(3)). A detached process inherits the sockets of its launcher.
//
// If the manager keeps sockets, Listen passes it the new socket, and the next process inherits that
// socket. systemd keeps sockets with FileDescriptorStoreMax= in the unit (systemd.service(5)). A
// client that connects during a restart waits and is not refused. The manager knows such a socket
// by the network and address in the call, so ":0" keeps its port. Listen finds a socket of a socket
// unit by the address to which it is bound: ":8080" is port 8080 of all addresses, and Listen looks
// up names of hosts and ports. FileDescriptorName= of the socket unit can name the socket instead,
// with %3A for each colon: tcp%3Alocalhost%3A8080. Listen returns each inherited socket once.
//
// Listen may be called at any time and from any goroutine. The best place is OnStart. When the life
// is ready, it closes the inherited sockets that no call has claimed, and the log names them. The
// life leaves them open if neither Listen nor ListenPacket was called before the life called the
// bodies. In a program that detaches, a call before Run makes the start fail, because that call
// runs in the launcher.
//
// Listen replaces a socket file that has no listener. The error wraps syscall.EADDRINUSE if this or
// another process listens there, or if the file is not a socket. As root, Listen also returns an
// error for an unsafe path (see below). Any other error comes from net.Listen. Listen blocks while
// it looks up a name. If the program has closed a socket with the same address, Listen waits for at
// most one second until the manager has closed its copy.
//
// A relative path of a socket file is relative to the working directory in which the process was
// started, as in an option of package lifecycle. Addr and errors show the absolute path. An
// inherited socket may be bound to another path of the same file, such as /run/x for /var/run/x.
//
// While the life is ready, Close removes the socket file that Listen has made, and the manager
// closes its copy of the socket. During a stop, Close leaves both for the next process, if the
// manager keeps the socket. The last worker of a supervised daemon removes the file at its end. If
// the program does not close the socket, Run removes the file at the end of the life, unless the
// manager keeps the socket. An embedded life removes no file.
//
// As root, Listen makes a socket file only if no other user controls its path. The rules are those
// of ErrUnsafePIDFile in package lifecycle, with one exception: the last directory may belong to
// another user if no third user can write to it.
//
// The listener has all methods of a *net.TCPListener or *net.UnixListener, such as File and
// SyscallConn, but its type is different. On Windows, Listen only binds.
func Listen(network, address string) (net.Listener, error) {
	s, err := listen(newRequest("Listen", network, address))
	if err != nil {
		return nil, err
	}
	return s.listener(), nil
}

// ListenPacket is net.ListenPacket for a socket that outlives the process. Everything in [Listen]
// applies to it. The connection has all methods of a *net.UDPConn, *net.UnixConn or *net.IPConn.
func ListenPacket(network, address string) (net.PacketConn, error) {
	s, err := listen(newRequest("ListenPacket", network, address))
	if err != nil {
		return nil, err
	}
	return s.packetConn(), nil
}

// listen returns an inherited socket for the request, or binds one.
func listen(r request) (*socket, error) {
	if s := claim(r); s != nil {
		return s, nil
	}
	conn, err := bind(r)
	if err != nil {
		return nil, err
	}
	use := r.use(&conn)
	use.File = fileOf(r, conn)
	return &socket{conn, fdstore.Add(use)}, nil
}

// claim returns the inherited socket for the request, or nil. It compares names first, then
// addresses.
func claim(r request) *socket {
	var conn socketConn
	use := r.use(&conn)
	fd := fdstore.Claim(use, func(f *os.File) (err error) {
		conn, err = r.from(f)
		return err
	})
	if fd == nil && len(fdstore.Unclaimed()) > 0 {
		wanted := r.resolve() // may query a name server
		fd = fdstore.ClaimWhere(use, func(f *os.File) bool {
			if !r.fits(activation.Network(f)) {
				return false
			}
			open, err := r.from(f)
			if err != nil {
				return false
			}
			if !wanted(open.address()) {
				open.Close()
				return false
			}
			conn = open
			return true
		})
	}
	if fd == nil {
		return nil
	}
	return &socket{conn, fd}
}

// use returns the description of the socket for fdstore. The caller may set conn later.
func (r request) use(conn *socketConn) fdstore.Use {
	return fdstore.Use{
		Call: r.call, Network: r.network, Address: r.address, Where: r.where, Path: r.path,
		Name: r.name, Copy: func() (*os.File, error) { return conn.File() },
	}
}
