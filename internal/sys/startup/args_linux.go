package startup

import (
	"strings"

	"golang.org/x/sys/unix"
)

// commandLine reads the arguments from proc_pid_cmdline(5). It does not use package os, because the
// first os.File makes the Go runtime open three descriptors.
func commandLine(now []string) (given, interpreter []string) {
	text := readFile("/proc/self/cmdline")
	if len(text) == 0 || text[len(text)-1] != 0 {
		return choose(now, nil)
	}
	return choose(now, strings.Split(string(text[:len(text)-1]), "\x00"))
}

// readFile returns nil if the file cannot be read.
func readFile(path string) []byte {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	text := make([]byte, 0, 512)
	for {
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
		n, err := unix.Read(fd, text[len(text):cap(text)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil
		case n == 0:
			return text
		default:
			text = text[:len(text)+n]
		}
	}
}
