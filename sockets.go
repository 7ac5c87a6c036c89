package lifecycle

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/lifecycle/internal/activation"
	"example.com/lifecycle/internal/detach"
)

// Listen is net.Listen for a socket that outlives the process: it returns the one that this process was given for that network and address, and binds one only where there
// is none. Given are the sockets of a socket unit of systemd, and those that a manager has kept (sd_listen_fds(3)), in a detached process too.
//
// Where the manager keeps sockets, as systemd does with FileDescriptorStoreMax= in the unit (systemd.service(5)), it gets what is bound here, and the next process is given
// it: whoever connects while this one is restarted, waits and is not refused. Such a socket is known by network and address as they are written here, so ":0" keeps its port. One of a socket
// unit is known by where it is bound: ":8080" is port 8080 of all addresses, a name of a host or port is looked up. Otherwise FileDescriptorName=
// can say it, with %3A for each colon: tcp%3Alocalhost%3A8080. Each is returned once.
//
// Listen may be called at any time and by any goroutine, best in OnStart: when the life is ready, sockets that nobody has asked for are closed, which the log says, unless neither Listen
// nor ListenPacket was called before the bodies were. In a program that detaches, it is an error of the start to call it before Run, where that
// would be done by the wrong process.
//
// A socket file at which nobody listens any more is replaced. The error wraps syscall.EADDRINUSE where somebody listens, this process included, or where the file is no socket; else
// it is that of net.Listen. Listen blocks while a name is looked up, and for a second at most while a manager lets go of the socket that was closed before.
//
// Close while the life is ready takes the socket from those that the manager keeps, and removes a socket file that was made here. In a stop it leaves both to the next
// process, if the manager keeps it. What is returned has all methods of a *net.TCPListener or *net.UnixListener, such as File and SyscallConn, but is none. On Windows
// Listen only binds.
func Listen(network, address string) (net.Listener, error) {
	s, err := sockets.listen(newRequest("Listen", network, address))
	if err != nil {
		return nil, err
	}
	return s.listener(), nil
}

// ListenPacket is to net.ListenPacket what [Listen] is to net.Listen. What is returned has all methods of a *net.UDPConn, *net.UnixConn or *net.IPConn.
func ListenPacket(network, address string) (net.PacketConn, error) {
	s, err := sockets.listen(newRequest("ListenPacket", network, address))
	if err != nil {
		return nil, err
	}
	return s.packetConn(), nil
}

// sockets is package state, since what a process inherits is there once, for all that is in it, and from before Run.
var sockets socketTable

// socketTable has the sockets of this process.
type socketTable struct {
	mu      sync.Mutex
	taken   bool                // what was inherited
	asked   bool                // Listen or ListenPacket was called
	early   bool                // and that before the bodies were
	given   []activation.Socket // that nobody has asked for yet
	open    []*socket           // in the order in which they were asked for
	stored  int                 // how many the manager keeps
	freed   time.Time           // when it was last told to let one go
	life    *life               // of this process; nil before Run
	manager *manager            // of that life, while it lasts
}

// listen returns a socket that was given for what is asked for, or binds one.
func (t *socketTable) listen(r request) (*socket, error) {
	s := t.claim(r)
	if s == nil {
		conn, err := t.bind(r)
		if err != nil {
			return nil, err
		}
		s = &socket{request: r, conn: conn, file: fileOf(r, conn)}
	}
	m := t.add(s)
	s.store(m)
	return s, nil
}

// claim finds the socket that was given for what is asked for: by its name, else by where it is bound.
func (t *socketTable) claim(r request) *socket {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.take()
	t.asked = true
	for n := 1; n <= len(t.given)+len(t.open); n++ {
		for i, given := range t.given {
			if given.Name != r.name(n) {
				continue
			}
			if conn, err := r.from(given.File); err == nil {
				return t.giveOut(i, r, conn)
			}
		}
	}
	if len(t.given) == 0 {
		return nil
	}
	t.mu.Unlock()
	wanted := r.resolve() // which may have to ask others
	t.mu.Lock()
	for i, given := range t.given {
		if !r.fits(activation.Network(given.File)) {
			continue
		}
		conn, err := r.from(given.File)
		if err != nil {
			continue
		}
		if wanted(conn.address()) {
			return t.giveOut(i, r, conn)
		}
		conn.Close()
	}
	return nil
}

// giveOut takes a given socket for somebody who has asked for it. t.mu is held.
func (t *socketTable) giveOut(i int, r request, conn socketConn) *socket {
	given := t.given[i]
	t.given = slices.Delete(t.given, i, i+1)
	given.File.Close() // conn has a copy
	return &socket{request: r, conn: conn, given: true, fdName: given.Name, stored: isStored(given)}
}

// isStored says whether a given socket is one that was stored under a name of ours. That of a socket unit belongs to systemd.
func isStored(s activation.Socket) bool {
	key, ok := activation.Key(s.Name)
	return ok && strings.Contains(key, ":")
}

// take takes what this process inherits, once. t.mu is held.
func (t *socketTable) take() {
	if t.taken {
		return
	}
	t.taken = true
	t.given = activation.Take()
	if inherited := detach.Inherited(); inherited != nil {
		_, _, files := readHandover(inherited)
		for _, f := range files {
			t.given = append(t.given, activation.Socket{Name: f.Name(), File: f})
		}
	}
	for _, given := range t.given {
		if isStored(given) {
			t.stored++
		}
	}
}

// toGive are the files of what this process was given and nobody has asked for: a detached process gets copies.
func (t *socketTable) toGive() (files []*os.File) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.take()
	for _, given := range t.given {
		files = append(files, given.File)
	}
	return files
}

// takeAll gives up everything that this process was given and that nobody has asked for, for another to have it.
func (t *socketTable) takeAll() []activation.Socket {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.take()
	all := t.given
	t.given, t.stored = nil, 0
	return all
}

// add notes an open socket, under a name that no other has, and returns who is to keep it.
func (t *socketTable) add(s *socket) *manager {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := 1; s.fdName == ""; n++ {
		if name := s.name(n); !t.has(name) {
			s.fdName = name
		}
	}
	t.open = append(t.open, s)
	return t.manager
}

func (t *socketTable) has(name string) bool {
	return slices.ContainsFunc(t.given, func(g activation.Socket) bool { return g.Name == name }) ||
		slices.ContainsFunc(t.open, func(o *socket) bool { return o.fdName == name })
}

// reserve makes room for one more in the store of the manager, if there is.
func (t *socketTable) reserve(m *manager) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stored >= m.room {
		return false
	}
	t.stored++
	return true
}

// unreserve says that the room was not needed.
func (t *socketTable) unreserve() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stored--
}

// remove forgets an open socket, which may be asked for again if there is a copy of it.
func (t *socketTable) remove(s *socket, again *activation.Socket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = slices.DeleteFunc(t.open, func(o *socket) bool { return o == s })
	if again != nil {
		t.given = append(t.given, *again)
	}
}

// forget has the manager let go of a socket.
func (t *socketTable) forget(name string) {
	t.mu.Lock()
	t.stored--
	t.freed = time.Now()
	m := t.manager
	t.mu.Unlock()
	if m != nil {
		m.unstore(name)
	}
}

// begin takes what was inherited, so that it does not reach what this process starts, and gives the manager what was bound before Run.
func (t *socketTable) begin(l *life) {
	t.mu.Lock()
	t.take()
	t.life, t.manager = l, l.manager
	open := slices.Clone(t.open)
	t.mu.Unlock()
	for _, s := range open {
		s.store(l.manager)
	}
}

// end is that of the manager.
func (t *socketTable) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.manager = nil
}

// phase is that of the life. Before Run, a socket may still be asked for, as in a start.
func (t *socketTable) phase() Phase {
	t.mu.Lock()
	l := t.life
	t.mu.Unlock()
	if l == nil {
		return Starting
	}
	return l.status().Phase
}

// bodiesBegin notes whether somebody has asked for a socket until now.
func (t *socketTable) bodiesBegin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.early = t.asked
}

// settle closes what nobody has asked for until the life is ready: those who connect would wait for ever. A program that has asked for nothing yet may do so later, or may know of the
// descriptors by other means, and they may be in use.
func (t *socketTable) settle(log *slog.Logger) {
	t.mu.Lock()
	asked := t.early
	given := slices.Clone(t.given)
	if asked { // a connection is none of ours, whatever it is for
		listens := func(g activation.Socket) bool { return activation.Network(g.File) != "" }
		t.given = slices.DeleteFunc(t.given, listens)
		given = slices.DeleteFunc(given, func(g activation.Socket) bool { return !listens(g) })
	}
	t.mu.Unlock()
	if len(given) == 0 {
		return
	}
	var names []string
	for _, g := range given {
		name := g.Name
		if isStored(g) {
			name, _ = activation.Key(name)
		}
		names = append(names, name)
	}
	if !asked {
		log.Info("sockets were given and stay open, though nobody has called Listen before the bodies", "sockets", names)
		return
	}
	for _, g := range given {
		g.File.Close()
		if isStored(g) {
			t.forget(g.Name)
		}
	}
	log.Warn("closed sockets that were given and that nobody has asked for", "sockets", names)
}

// listenedTooEarly returns an error if this process has opened sockets for another one that it starts.
func listenedTooEarly() error {
	sockets.mu.Lock()
	defer sockets.mu.Unlock()
	if len(sockets.open) == 0 {
		return nil
	}
	r := sockets.open[0].request
	return fmt.Errorf("lifecycle: %s(%s, %s) at %s was called before Run in a program that detaches or supervises itself: call it in OnStart", r.call, r.network, r.address, r.where)
}
