package pidfile

import (
	"bytes"
	"io"
	"os"
	"strconv"

	"example.com/lifecycle/internal/sys/safefile"
)

const (
	maxSize = 64   // bytes; longer content is no PID
	maxRead = 4096 // bytes; a power failure can leave a block of NUL bytes
)

// errData reports that a file contains data that no program writes into a PID file. The file may
// contain a user's data.
var errData = safefile.Unsafe("it contains other data than a PID, so it was left untouched: correct the path, or remove the file")

// isPIDFile reports whether text can be the content of a PID file of any program: nothing, or a
// number and white space. It also accepts only NUL bytes, because a file can contain them after a
// power failure.
func isPIDFile(text []byte) bool {
	if len(text) <= maxRead && len(bytes.Trim(text, "\x00")) == 0 {
		return true
	}
	if len(text) > maxSize {
		return false
	}
	number := bytes.TrimSpace(text)
	if len(number) > 1 && (number[0] == '-' || number[0] == '+') {
		number = number[1:]
	}
	return !bytes.ContainsFunc(number, func(r rune) bool { return r < '0' || r > '9' })
}

// read returns the content of an open PID file. It reads at most one byte more than the largest PID
// file has.
func read(f *os.File) ([]byte, error) { return io.ReadAll(io.NewSectionReader(f, 0, maxRead+1)) }

// checkContent returns [errData] if the content of the file cannot be the content of a PID file.
func checkContent(f *os.File) error {
	text, err := read(f)
	if err == nil && !isPIDFile(text) {
		err = errData
	}
	return err
}

// parsePID returns the PID in a PID file, or 0. A PID consists of decimal digits without a leading
// zero, and is at most maxPID. At most one newline follows it. Any other content is not a PID:
// "12abc" is not 12.
func parsePID(text []byte) int {
	digits := bytes.TrimSuffix(text, []byte("\n"))
	if len(text) > maxSize || len(digits) == 0 || len(digits) > 10 || digits[0] == '0' {
		return 0
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0
		}
	}
	pid, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || pid > maxPID() {
		return 0
	}
	return int(pid)
}

// maxPID returns the largest PID of this system. If the system does not report it, maxPID returns
// the maximum of Linux (proc_sys_kernel(5), pid_max).
func maxPID() int64 {
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err == nil {
		if limit, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil {
			return limit
		}
	}
	return 1 << 22
}
