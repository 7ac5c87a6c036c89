package e2e

import (
	"encoding/json"
	"os"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/statefile"
)

// A board without a battery starts in 1970 and sets its clock when it has a network. This test
// writes the times of 1970 into the state file, because a test cannot fake the clock of a Go
// program.
// Row J10.
func TestDurationsAreRightAfterTheClockWasSet(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start(atOnce, "reload=error")
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	require.Equal(t, 1, b.call("reload").Code)

	path := proctest.StatePath(b.pidfile)
	object, err := statefile.Read(path, os.Geteuid())
	require.NoError(t, err)
	shifted := regexp.MustCompile(`"20\d\d(-[^"]*)"`).ReplaceAll(object, []byte(`"1970$1"`))
	require.NotEqual(t, string(object), string(shifted))
	write := func(object []byte) {
		record, err := statefile.Seal(object)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, record, 0o644))
	}
	write(shifted)
	got := b.call("status").Stdout
	require.Regexp(t, `ready \(pid \d+, worker \d+\) for \d+s, 1 restart \d+s ago: signal SIGKILL\n  last reload rejected \d+s ago: `, got)
	s := b.status()
	for what, at := range map[string]time.Time{"since": s.Since, "started": s.Started, "ready": s.Ready, "last exit": s.LastExit.At, "last reload": s.LastReload.At} {
		require.WithinDuration(t, time.Now(), at, proctest.Patience, what)
	}

	// After a reboot, or in another time namespace, only the time of day is known.
	other := regexp.MustCompile(`"clock":"[^"]*"`).ReplaceAll(shifted, []byte(`"clock":"another"`))
	require.NotEqual(t, string(shifted), string(other))
	write(other)
	require.Regexp(t, `for \d{3,}d`, b.call("status").Stdout)
	require.Equal(t, 1970, b.status().Since.Year())

	write(object)
	var plain lifecycle.Status
	require.NoError(t, json.Unmarshal(object, &plain))
	require.Equal(t, plain.Since, b.status().Since, "a clock that was not set gives exact durations")
	b.stop()
}
