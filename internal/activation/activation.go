// Package activation takes the sockets that a service manager has opened for this process (sd_listen_fds(3)): they are its descriptors from 3 on, LISTEN_FDS
// says how many, LISTEN_FDNAMES what they are called, and LISTEN_PID for whom they are.
//
// It is tempting to take github.com/coreos/go-systemd/v22/activation instead. But that makes files of all descriptors, sockets or not, leaves the environment as it is
// if that is for another process, and its names are either lost or a map in which two sockets of one name have no order.
package activation

import (
	"os"
	"strconv"
	"strings"

	"example.com/lifecycle/internal/secureenv"
)

// Socket is an open socket with the name that the service manager has for it.
type Socket struct {
	Name string
	File *os.File
}

// first is the descriptor of the first socket (SD_LISTEN_FDS_START).
const first = 3

// Take takes the sockets that this process was given out of its environment, and keeps them from what it starts. The second time there are none. What else it was given,
// such as a FIFO or a file from the manager's store, is not inherited by what it starts either, and is left alone otherwise.
func Take() []Socket {
	secureenv.Take("LISTEN_PIDFDID") // which came with systemd 258
	pid, fds := secureenv.Take("LISTEN_PID"), secureenv.Take("LISTEN_FDS")
	return take(parse(pid, fds, secureenv.Take("LISTEN_FDNAMES"), os.Getpid()))
}

// maxFiles is a limit for what others say.
const maxFiles = 1 << 16

// parse returns what the descriptors from 3 on are called, if they are for the process self.
func parse(pid, fds, names string, self int) []string {
	n, err := strconv.Atoi(fds)
	if pid != strconv.Itoa(self) || err != nil || n <= 0 || n > maxFiles {
		return nil
	}
	all := strings.Split(names, ":")
	if len(all) != n { // it is not set, or nonsense
		all = make([]string, n)
		for i := range all {
			all[i] = "unknown" // as sd_listen_fds_with_names(3) has it
		}
	}
	return all
}

// Network is what package net calls the network of a socket at which can be listened: tcp4, tcp6, udp4, udp6, unix, unixgram or unixpacket. It is "" for any other, such as
// that of a connection.
func Network(f *os.File) string { return network(f) }

// Path is the file of a unix socket, "" if it has none.
func Path(f *os.File) string { return path(f) }
