//go:build unix && !aix

package detach

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeListedOnExec has every open descriptor from that one on closed in what is executed. It is tempting to count up to the limit instead, but that
// can be a thousand million.
func closeListedOnExec(dir string, from int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd >= from {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
