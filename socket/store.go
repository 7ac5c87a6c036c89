package socket

import (
	"fmt"
	"os"

	"example.com/lifecycle/internal/fdstore"
)

// Store keeps a copy of an open file for the next workers of this daemon, under a name of 1 to 64
// bytes. The next worker gets the file from [Stored]: after a restart, a crash or an upgrade. The
// file can be a memory file (memfd_create(2)), a pipe, a connection, an eventfd, or a regular file
// on a local disk. Use Store for state that must outlive a crash, or for connections that the next
// worker continues to serve.
//
// The supervisor keeps the copy, or systemd with FileDescriptorStoreMax= in the unit
// (systemd.service(5)). f stays open in this process. The copy has the same file offset and flags
// as f (dup(2)). Several files can have the same name, and [Stored] returns them in the order of
// the calls. Store(name, nil) removes all copies with that name. A stop of the daemon closes all
// copies.
//
// Call Store in a hook or a body. It does not block. The error wraps [errors.ErrUnsupported] if
// neither a supervisor nor systemd keeps descriptors for this process. Store also returns an error
// if the file is of a kind that is not listed above, if the name is not valid, or if the manager
// already keeps its maximum number of descriptors. A supervisor keeps a quarter of RLIMIT_NOFILE
// and at most 512, systemd keeps FileDescriptorStoreMax=. The manager keeps sockets from [Listen]
// without a call of Store.
func Store(name string, f *os.File) error {
	if err := fdstore.Keep(name, f); err != nil {
		return fmt.Errorf("socket: cannot store %q: %w", name, err)
	}
	return nil
}

// Stored returns the files that earlier workers of this daemon have stored under a name, oldest
// first. It returns each file once. The caller must close them. The manager keeps its copies for
// the next worker until Store(name, nil). Stored may be called at any time; it does not block.
func Stored(name string) []*os.File { return fdstore.Kept(name) }
