package lifecycle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	service  = 12345 // a user who is in no database
	stranger = 54321 // another
)

// faulty is the program daemon with a fault in the system calls that touch its PID file, as -e inject of strace(1) wants it. The
// tracer is a grandchild (-D), so the process is the daemon's own. requireFault requires that the fault has happened.
func faulty(t *testing.T, fault, pidfile string, args ...string) (cmd *exec.Cmd, requireFault func()) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	call, _, _ := strings.Cut(fault, ":")
	cmd = wrapped([]string{"strace", "-D", "-I1", "-f", "-o", trace, "-P", pidfile, "-e", "trace=" + call, "-e", "inject=" + fault},
		daemon, append([]string{"pidfile=" + pidfile}, args...)...)
	return cmd, func() {
		t.Helper()
		eventually(t, func() bool {
			text, err := os.ReadFile(trace)
			return err == nil && (strings.Contains(string(text), "(INJECTED)") || strings.Contains(string(text), "stopped by SIGSTOP"))
		}, "the fault %s", fault)
	}
}

func needsStrace(t *testing.T) { t.Helper(); needsLeave(t, "strace", "-o", os.DevNull) }

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
