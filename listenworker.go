package lifecycle

import (
	"os"

	"example.com/lifecycle/internal/sdnotify"
)

// listenForWorker makes the socket at which the worker speaks. Nobody else can send to it, unless a foreign program may
// leave its user or its root directory before it speaks: such a one would not find a private socket.
func (c *config) listenForWorker() (*sdnotify.Server, error) {
	uid := os.Geteuid()
	switch {
	case c.program == nil: // it connects at once, and changes after that
	case c.chroot != "", c.role == nil && uid == 0:
		return sdnotify.Listen()
	case c.role != nil:
		uid = c.role.UID
	}
	server, err := sdnotify.ListenPrivate(uid)
	if err != nil { // there is no place for a file
		return sdnotify.Listen()
	}
	return server, nil
}
