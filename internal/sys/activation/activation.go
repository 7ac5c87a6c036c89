// Package activation takes the sockets that a service manager opened for this process
// (sd_listen_fds(3)). They are the descriptors from 3 on. LISTEN_FDS contains their number,
// LISTEN_FDNAMES their names, and LISTEN_PID the PID of the process that may use them.
//
// github.com/coreos/go-systemd/v22/activation is no alternative. It makes a file of each
// descriptor, even if the descriptor is not a socket. It keeps variables that are for another
// process. It either drops the names or returns a map. In the map, two sockets with the same name
// have no order.
package activation

import (
	"os"
	"strconv"
	"strings"

	"example.com/lifecycle/internal/sys/secureenv"
)

// Socket is an open socket with its name in the service manager.
type Socket struct {
	Name string
	File *os.File
}

// first is the descriptor of the first socket (SD_LISTEN_FDS_START).
const first = 3

// FilePrefix begins the key of a descriptor that this module has stored and that need not be a
// socket.
const FilePrefix = "file:"

// Take returns the sockets that the manager passed to this process, and the descriptors whose key
// begins with FilePrefix. It removes the variables from the environment. Child processes do not
// inherit the descriptors. A second call returns none. Other passed descriptors, such as a FIFO,
// stay open, but child processes do not inherit them either.
func Take() []Socket {
	secureenv.Take("LISTEN_PIDFDID") // set since systemd 258
	pid, fds := secureenv.Take("LISTEN_PID"), secureenv.Take("LISTEN_FDS")
	return take(parse(pid, fds, secureenv.Take("LISTEN_FDNAMES"), os.Getpid()))
}

// maxFiles limits the number in LISTEN_FDS.
const maxFiles = 1 << 16

// parse returns the names of the descriptors from 3 on. It returns nil if they are not for the
// process with PID self.
func parse(pid, fds, names string, self int) []string {
	n, err := strconv.Atoi(fds)
	if pid != strconv.Itoa(self) || err != nil || n <= 0 || n > maxFiles {
		return nil
	}
	all := strings.Split(names, ":")
	if len(all) != n { // not set, or wrong
		all = make([]string, n)
		for i := range all {
			all[i] = "unknown" // as in sd_listen_fds_with_names(3)
		}
	}
	return all
}

// Network returns the network name of package net for a socket that can listen: tcp4, tcp6, udp4,
// udp6, unix, unixgram or unixpacket. It returns "" for other sockets, such as a connection.
func Network(f *os.File) string { return network(f) }

// Path returns the file of a unix socket, or "" if it has none.
func Path(f *os.File) string { return path(f) }
