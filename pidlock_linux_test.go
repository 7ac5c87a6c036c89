package lifecycle

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	service  = 12345 // a user who is in no database
	stranger = 54321 // another
)

func statusField(t *testing.T, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, value, _ := strings.Cut(string(text), "\n"+field+":")
	value, _, _ = strings.Cut(value, "\n")
	return strings.TrimSpace(value)
}

// squat sets read locks where mark and name go, as everybody can who can read the file.
func squat(t *testing.T, pidfile string) (reader *os.File) {
	t.Helper()
	reader = openForReading(t, pidfile)
	for _, at := range []int64{1 << 62, 1<<62 + 1} {
		lock := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}
		require.NoError(t, unix.FcntlFlock(reader.Fd(), unix.F_OFD_SETLK, &lock))
	}
	return reader
}
