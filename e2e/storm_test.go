package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

var startedText = regexp.MustCompile(`^daemon: ready \(pid ([1-9]\d*), [\d.]+ m?s\)\n$`)

// stopDetached stops a daemon that a test has started, however it ends.
func stopDetached(t *testing.T, pidfile string) {
	t.Helper()
	t.Cleanup(func() {
		daemon, err := lifecycle.Find(pidfile)
		if err != nil {
			return
		}
		defer daemon.Close()
		_ = daemon.Signal(os.Kill)
	})
}

// Row A1.
func TestOfAHundredDetachedStartsOneWinsAndTheOthersNameIt(t *testing.T) {
	proctest.Needs(t, "linux") // elsewhere the lock of a launcher does not say whose it is to be
	const starts = 100
	pidfile := proctest.PIDPath(t)
	stopDetached(t, pidfile)
	var all sync.WaitGroup
	results := make([]proctest.Result, starts)
	for i := range results {
		all.Go(func() {
			var stdout, stderr proctest.Lines
			cmd := proctest.Command(daemon, "pidfile="+pidfile, "start")
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			results[i] = proctest.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
		})
	}
	all.Wait()
	winner := ""
	for _, r := range results {
		if r.Code == 0 {
			require.Empty(t, winner, "two have won")
			found := startedText.FindStringSubmatch(r.Stderr)
			require.NotNil(t, found, r.Stderr)
			winner = found[1]
		}
	}
	require.NotEmpty(t, winner, "%v", results)
	early := 0
	for _, r := range results {
		if r.Code == 0 {
			continue
		}
		require.Equal(t, 1, r.Code, r.Stderr)
		require.Regexp(t, `^daemon: already running \(pid `+winner+`\)(, not ready yet)?\n$`, r.Stderr)
		if strings.Contains(r.Stderr, "not ready yet") {
			early++
		}
	}
	pid, err := strconv.Atoi(winner)
	require.NoError(t, err)
	requireRunning(t, pidfile, pid)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	requireNothingLeft(t, pidfile)
	t.Logf("%d of %d losers were told that it was not ready yet", early, starts-1)
}
