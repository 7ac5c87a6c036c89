package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/filelock"
)

// callHere calls a verb in this process. A verb that would start a process fails under go test, but
// only after all other checks.
func callHere(pidfile, verb string) proctest.Result {
	l, err := newLife(nil, []Option{Name("daemon"), PIDFile(pidfile), OnReload(func(context.Context) error { return nil })})
	if err != nil {
		return proctest.Result{Stderr: err.Error(), Code: -1}
	}
	var stdout, stderr bytes.Buffer
	code := program{life: l, stdout: &stdout, stderr: &stderr}.main([]string{verb})
	return proctest.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}
}

// Rows C3, C4, C5, C6, C8, L2.
func TestNoVerbSignalsAProcessThatDoesNotHoldTheLock(t *testing.T) {
	t.Parallel()
	p, requireUntouched := startHolding(t)
	pid := p.PID()
	number, group := fmt.Sprintln(pid), fmt.Sprintln(-pid)
	inUse := map[string]int{"stop": 1, "restart": 1, "try-restart": 1, "reload": 1, "force-reload": 1, "reopen": 1, "status": 4}
	elsewhere := maps.Clone(inUse) // a daemon runs, but its PID is unknown
	elsewhere["status"] = 0
	free := map[string]int{"stop": 7, "restart": 1, "try-restart": 0, "reload": 7, "force-reload": 7, "reopen": 7, "status": 3}
	stale := maps.Clone(free)
	stale["status"] = 1
	mark := func(f *os.File) { require.NoError(t, filelock.LockPresence(f)) }

	type row struct {
		what, content string
		plant         func(path string)
		codes         map[string]int
	}
	rows := []row{
		{"locked by a stranger", number, func(path string) { held(t, path) }, inUse},
		{"locked by a stranger", group, func(path string) { held(t, path) }, inUse},
		// A mark needs the permission to write the file. A group may have this permission.
		{"held and marked by a stranger", number, func(path string) { mark(held(t, path)) }, elsewhere},
		{"held and marked by a stranger", group, func(path string) { mark(held(t, path)) }, inUse},
		{"marked, but locked by nobody", number, func(path string) { mark(openForWriting(t, path)) }, elsewhere},
		{"squatted on by a reader", number, func(path string) {
			require.NoError(t, syscall.Flock(int(squat(t, path).Fd()), syscall.LOCK_SH))
		}, stale},
		{"with 1 GB of nothing behind it", number, func(path string) { require.NoError(t, os.Truncate(path, 1<<30)) }, inUse},
	}
	if os.Geteuid() == 0 {
		ofAnother := func(path string) {
			require.NoError(t, os.Chown(path, service, service))
			mark(held(t, path))
		}
		rows = append(rows, row{"of another user, who holds and marks it", number, ofAnother, inUse})
	}
	for _, text := range []string{number, fmt.Sprintln(os.Getpid())} {
		rows = append(rows, row{"held by nobody", text, func(string) {}, stale})
	}
	for _, text := range []string{
		"", "0\n", "-1\n", group, fmt.Sprintln(1<<32 + pid),
	} {
		rows = append(rows, row{"held by nobody", text, func(string) {}, free})
	}
	for _, text := range []string{
		fmt.Sprintf("pid=%d\n", pid), fmt.Sprintf("%d\n%d\n", pid, pid), "\x7fELF\x02\x01\x01\x00", strings.Repeat("9", 1<<20),
	} {
		rows = append(rows, row{"other data, held by nobody", text, func(string) {}, inUse})
	}

	type answer struct {
		row  row
		verb string
		got  proctest.Result
	}
	answers := make(chan answer)
	asked := 0
	var requireFiles []func()
	for _, r := range rows {
		path := proctest.PIDFileWith(t, r.content)
		r.plant(path)
		if info, err := os.Stat(path); err == nil && info.Size() < 1<<30 {
			requireFiles = append(requireFiles, proctest.Untouched(t, path))
		}
		for verb := range r.codes {
			asked++ // all at once, because each verb waits while the holder of its file is unknown
			go func() { answers <- answer{r, verb, callHere(path, verb)} }()
		}
	}
	for range asked {
		a := <-answers
		require.Equal(t, a.row.codes[a.verb], a.got.Code, "%s: %.30q %s: %s%s", a.verb, a.row.content, a.row.what, a.got.Stdout, a.got.Stderr)
	}
	for _, requireFile := range requireFiles {
		requireFile()
	}
	require.Contains(t, []string{"S (sleeping)", "R (running)"}, statusField(t, pid, "State"))
	requireUntouched()
}

func openForWriting(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

const (
	service  = 12345 // a user who is not in the user database
	stranger = 54321 // another such user
)

func statusField(t *testing.T, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, value, _ := strings.Cut(string(text), "\n"+field+":")
	value, _, _ = strings.Cut(value, "\n")
	return strings.TrimSpace(value)
}

// squat sets read locks on the bytes of the mark and of the owner lock. Any user who can read the
// file can do this.
func squat(t *testing.T, pidfile string) (reader *os.File) {
	t.Helper()
	reader = openForReading(t, pidfile)
	for _, at := range []int64{1 << 62, 1<<62 + 1} {
		lock := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}
		require.NoError(t, unix.FcntlFlock(reader.Fd(), unix.F_OFD_SETLK, &lock))
	}
	return reader
}
