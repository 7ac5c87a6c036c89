// Package readyfd reports readiness with the protocol of s6: the service writes a newline to a
// descriptor and closes the descriptor (https://skarnet.org/software/s6/notifywhenup.html).
package readyfd

import (
	"fmt"
	"strconv"
)

// Descriptor is a descriptor that this process was started with. A nil Descriptor does nothing.
type Descriptor struct{ fd int }

// Take takes the descriptor with that number. Programs that this process starts later do not
// inherit it. Take returns an error if the number is less than 3, or if the descriptor is not an
// inherited, writable pipe or socket. FD_CLOEXEC tells Take which descriptors this process has
// opened itself.
func Take(number string) (*Descriptor, error) {
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number", number)
	}
	if fd < 3 {
		return nil, fmt.Errorf("descriptor %d is stdin, stdout or stderr", fd)
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

// Close closes the descriptor without reporting. It is idempotent.
func (d *Descriptor) Close() {
	if d == nil || d.fd < 0 {
		return
	}
	d.close()
	d.fd = -1
}
