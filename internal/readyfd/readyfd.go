// Package readyfd tells whoever waits at the other end of a descriptor that a service is ready, as s6 and others want it: a newline, and then the
// descriptor is closed (https://skarnet.org/software/s6/notifywhenup.html).
package readyfd

import (
	"fmt"
	"strconv"
)

// Descriptor is one that this process was started with. A nil one is none.
type Descriptor struct{ fd int }

// Take takes the descriptor of that number, so that no program which is started from now on inherits it. It returns an error where that number is none from 3 on, or that of no
// pipe or socket that was inherited and can be written to: descriptors that this process has opened itself are not inherited by what it starts
// (FD_CLOEXEC), and so are told from those.
func Take(number string) (*Descriptor, error) {
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("%q is no number", number)
	}
	if fd < 3 {
		return nil, fmt.Errorf("descriptor %d is one of stdin, stdout and stderr", fd)
	}
	return take(int(fd))
}

// Tell writes the newline and closes the descriptor. It never blocks.
func (d *Descriptor) Tell() error {
	if d == nil || d.fd < 0 {
		return nil
	}
	defer d.Close()
	return d.tell()
}

// Close closes the descriptor without a word. It may be called again.
func (d *Descriptor) Close() {
	if d == nil || d.fd < 0 {
		return
	}
	d.close()
	d.fd = -1
}
