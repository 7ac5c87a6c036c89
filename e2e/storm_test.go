package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

var startedText = proctest.Pattern(`^daemon: ready \(pid ([1-9]\d*), [\d.]+ m?s\)\n$`)

// stopDetached stops a daemon that a test has started, even if the test fails.
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

// In CI there are 100 starts.
// Row A1.
func TestOneOfManyDetachedStartsWinsAndTheOthersNameIt(t *testing.T) {
	proctest.Needs(t, "linux") // elsewhere the lock of a launcher does not identify a daemon
	starts := proctest.Rounds(40, 100, 100)
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
			require.Empty(t, winner, "two starts have won")
			found := startedText().FindStringSubmatch(r.Stderr)
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

// watcher runs the verb status, as text and as JSON, until its stdin ends.
var watcher = proctest.Register("watcher", func(args []string) int {
	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(over)
	}()
	for looks := 0; ; looks++ {
		select {
		case <-over:
			return 0
		default:
		}
		verb := []string{"status"}
		if looks%2 == 1 {
			verb = append(verb, "--json")
		}
		code := lifecycle.Main(verb, nil, lifecycle.Name("daemon"), lifecycle.PIDFile(args[0]), lifecycle.Logger(slog.New(slog.DiscardHandler)))
		fmt.Printf("code %d\n", code)
		time.Sleep(time.Duration(looks%5) * time.Millisecond)
	}
})

// answer is an answer of the verb status.
type answer struct {
	text string
	code int
}

func answersOf(t *testing.T, text string) (all []answer) {
	t.Helper()
	for text != "" {
		before, after, found := strings.Cut(text, "code ")
		require.True(t, found, text)
		number, rest, _ := strings.Cut(after, "\n")
		code, err := strconv.Atoi(number)
		require.NoError(t, err)
		all, text = append(all, answer{before, code}), rest
	}
	return all
}

// Row A14.
func TestStatusIsRightDuringManyStartsAndStops(t *testing.T) {
	proctest.Needs(t, "linux")
	for range proctest.Rounds(1, 1, 10) {
		storm(t, proctest.Rounds(5, 15, 20))
	}
}

func storm(t *testing.T, rounds int) {
	t.Helper()
	pidfile := proctest.PIDPath(t)
	stopDetached(t, pidfile)
	cmd := proctest.Command(watcher, pidfile)
	end, err := cmd.StdinPipe()
	require.NoError(t, err)
	watch := proctest.Launch(t, cmd)
	t.Cleanup(func() { end.Close() })

	daemons := map[string]bool{}
	verb := func(verb string, want *regexp.Regexp) {
		t.Helper()
		got := callVerb(t, pidfile, verb)
		require.Equal(t, 0, got.Code, "%s: %s%s", verb, got.Stdout, got.Stderr)
		found := want.FindStringSubmatch(got.Stderr)
		require.NotNil(t, found, "%s: %s", verb, got.Stderr)
		if verb != "stop" {
			daemons[found[len(found)-1]] = true
		}
		require.True(t, daemons[found[1]], "%s: %s", verb, got.Stderr)
	}
	stopped := regexp.MustCompile(`^daemon: stopped \(pid (\d+), [\d.]+ m?s\)\n$`)
	restarted := regexp.MustCompile(`daemon: stopped \(pid (\d+), [\d.]+ m?s\)\ndaemon: ready \(pid ([1-9]\d*), [\d.]+ m?s\)\n$`)
	for range rounds {
		verb("start", startedText())
		verb("restart", restarted)
		verb("restart", restarted)
		verb("stop", stopped)
	}
	require.NoError(t, end.Close())
	require.Equal(t, 0, watch.Wait())

	line := regexp.MustCompile(`^daemon: (starting|ready|stopping) \(pid (\d+)\) for \d+s(, \w+ of daemon running)?\n$`)
	// On a busy machine, the daemon may get no processor for as long as status tries to read its
	// state.
	const halfWritten = `.*/daemon\.state: (the record is damaged|the record belongs to pid \d+, not to pid \d+|open: no such file or directory)`
	unread := regexp.MustCompile(`^daemon: (running) \(pid (\d+)\); cannot read its state: ` + halfWritten + `\n$`)
	seen := map[string]int{}
	for _, a := range answersOf(t, watch.Out.String()) {
		pid, what := "", ""
		if strings.HasPrefix(a.text, "{") {
			var r struct {
				State, Error string
				*lifecycle.Status
			}
			require.NoError(t, json.Unmarshal([]byte(a.text), &r), a.text)
			what = r.State
			if r.Error != "" {
				require.Equal(t, "running", what, a.text)
				require.Regexp(t, halfWritten, r.Error)
				require.Zero(t, a.code, a.text)
				seen[what]++
				continue
			}
			if r.Status != nil {
				pid, what = strconv.Itoa(r.PID), r.Phase.String()
			}
		} else if found := line.FindStringSubmatch(a.text); found != nil {
			pid, what = found[2], found[1]
		} else if found := unread.FindStringSubmatch(a.text); found != nil {
			pid, what = found[2], found[1]
		} else {
			require.Equal(t, notRunning(pidfile), a.text)
			what = "not running"
		}
		if what == "not running" {
			require.Equal(t, 3, a.code, a.text)
			require.Empty(t, pid, a.text)
		} else {
			require.Equal(t, 0, a.code, a.text)
			require.True(t, daemons[pid], "no daemon had that PID: %s", a.text)
		}
		seen[what]++
	}
	require.NotZero(t, seen["ready"])
	require.NotZero(t, seen["not running"])
	requireNothingLeft(t, pidfile)
	t.Logf("%d daemons, seen %v", len(daemons), seen)
}
