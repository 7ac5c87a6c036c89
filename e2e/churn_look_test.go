package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	godaemon "github.com/sevlyar/go-daemon"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/filelock"
	"example.com/lifecycle/internal/sys/safefile"
)

// restarter starts and ends repeatedly. It begins when its stdin ends. Each start must succeed.
//
//	restarter PIDFILE ROUNDS run        whole lives
//	restarter PIDFILE ROUNDS lock       only the lock
//	restarter PIDFILE ROUNDS crash      only the lock, and it leaves the file, as a crash does
var restarter = proctest.Register("restarter", func(args []string) int {
	rounds, err := strconv.Atoi(args[1])
	quiet := slog.New(slog.DiscardHandler)
	none := func(context.Context) error { return nil }
	_, _ = io.Copy(io.Discard, os.Stdin)
	for round := 0; round < rounds && err == nil; round++ {
		if args[2] == "run" {
			err = lifecycle.Run(none, lifecycle.Name("restarter"), lifecycle.PIDFile(args[0]), lifecycle.Logger(quiet), lifecycle.OnStart(none))
			continue
		}
		var lock *pidfile.Lock
		if lock, err = takePIDFile(args[0]); err != nil {
			break
		}
		if args[2] == "crash" {
			lock.File().Close()
		} else {
			_, _ = lock.Release()
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
})

// looker inspects the PID file as fast as it can until its stdin ends. It exits at the first wrong
// answer.
//
//	looker PIDFILE PID clean|crash
//
// PID is the only process that may hold the file. A clean holder never leaves the file behind.
var looker = proctest.Register("looker", func(args []string) int {
	pid, _ := strconv.Atoi(args[1])
	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(over)
	}()
	for looks, held := 0, 0; ; looks++ {
		select {
		case <-over:
			fmt.Printf("looked %d times, %d times it was held\n", looks, held)
			return 0
		default:
		}
		h, err := pidfile.Inspect(args[0])
		switch {
		case err != nil:
			fmt.Println("an error:", err)
			return 1
		case h.Number != 0 && h.Number != pid, h.PID != 0 && h.PID != pid:
			fmt.Printf("the wrong one: %+v\n", h)
			return 1
		case !h.Held && h.Number != 0 && args[2] == "clean":
			fmt.Printf("called dead, but nobody died: %+v\n", h)
			return 1
		case h.Held:
			held++
		}
		if looks == 0 {
			fmt.Println("looking")
		}
	}
})

// Row A14.
func TestInspectionsNeverFailAndNeverMakeAStartFail(t *testing.T) {
	for _, c := range []struct {
		what   string
		rounds int
		how    string
	}{
		{"run", proctest.Rounds(40, 250, 250), "clean"},
		{"lock", proctest.Rounds(100, 1000, 1000), "clean"},
		{"crash", proctest.Rounds(40, 300, 300), "crash"},
	} {
		t.Run(c.what, func(t *testing.T) {
			pidfile := proctest.PIDPath(t)
			cmd := proctest.Command(restarter, pidfile, strconv.Itoa(c.rounds), c.what)
			begin, err := cmd.StdinPipe()
			require.NoError(t, err)
			starts := proctest.Launch(t, cmd)
			var lookers []*proctest.Process
			var ends []io.Closer
			for range 3 {
				cmd := proctest.Command(looker, pidfile, strconv.Itoa(starts.PID()), c.how)
				stdin, err := cmd.StdinPipe()
				require.NoError(t, err)
				ends = append(ends, stdin)
				lookers = append(lookers, proctest.Launch(t, cmd))
			}
			for _, p := range lookers {
				p.Await("looking")
			}
			require.NoError(t, begin.Close())
			require.Equal(t, 0, starts.Wait(), "%s", starts.Out)
			for _, end := range ends {
				_ = end.Close()
			}
			for _, p := range lookers {
				require.Equal(t, 0, p.Wait(), "%s", p.Out)
			}
			_, err = os.Stat(pidfile)
			require.Equal(t, c.how == "crash", err == nil, "only a crash leaves the file, and an inspection deletes no file")
		})
	}
}

// Row A13.
func TestAReaderSeesTheWholePIDOrNone(t *testing.T) {
	proctest.Needs(t, "linux") // elsewhere only the number identifies the holder
	pidfile := proctest.PIDPath(t)
	witness := filepath.Join(t.TempDir(), "witness")
	require.NoError(t, os.WriteFile(witness, nil, 0o600))
	pids := map[string]bool{"": true}
	var all []*proctest.Process
	for range 3 {
		p := proctest.Start(t, churner, pidfile, witness, fmt.Sprint(proctest.Rounds(150, 1500, 1500)), "crash")
		pids[fmt.Sprintf("%d\n", p.PID())] = true
		all = append(all, p)
	}
	reads, numbers := 0, 0
	for _, p := range all {
		for over := false; !over; reads++ {
			select {
			case <-p.Done:
				over = true
			default:
			}
			text, holder := readBetweenLooks(t, pidfile)
			require.True(t, pids[text], "%q is the number of nobody", text)
			if holder != 0 && text != "" {
				require.Equal(t, fmt.Sprintf("%d\n", holder), text)
				numbers++
			}
		}
		require.Equal(t, 0, p.Wait(), "%s", p.Out)
	}
	require.NotZero(t, numbers)
	t.Logf("read %d times, %d times the number of a holder", reads, numbers)
}

// readBetweenLooks reads the PID file as cat(1) does. holder is the process that held the file both
// before and after the read.
func readBetweenLooks(t *testing.T, pidfile string) (text string, holder int) {
	t.Helper()
	f, err := safefile.Open(pidfile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0
	}
	require.NoError(t, err)
	defer f.Close()
	before, err := filelock.Inspect(f)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	after, err := filelock.Inspect(f)
	require.NoError(t, err)
	if before.PID != after.PID {
		return string(b), 0
	}
	return string(b), after.PID
}

// BenchmarkChurn lets eight processes take and release a PID file as fast as they can. It counts
// how often two of them held it at the same time, which must be 0. For comparison, it does the same
// with the PID file of go-daemon.
func BenchmarkChurn(b *testing.B) {
	b.Run("lifecycle", func(b *testing.B) {
		churn(b, func(path string) (release func(), err error) {
			lock, err := takePIDFile(path)
			return func() { _, _ = lock.Release() }, err
		})
	})
	b.Run("peer=go-daemon", func(b *testing.B) {
		churn(b, func(path string) (release func(), err error) {
			// CreatePidFile is not used, because it deletes the file of another process.
			lock, err := godaemon.OpenLockFile(path, 0o644)
			if err != nil {
				return nil, err
			}
			if err := lock.Lock(); err != nil {
				lock.Close()
				return nil, err
			}
			return func() { _ = lock.Remove() }, lock.WritePid()
		})
	})
}

func churn(b *testing.B, take func(path string) (release func(), err error)) {
	path := filepath.Join(b.TempDir(), "churn.pid")
	var turns, inside, overlaps atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	for range 8 {
		all.Go(func() {
			for turns.Load() < int64(b.N) {
				release, err := take(path)
				if err != nil {
					runtime.Gosched()
					continue
				}
				if inside.Add(1) > 1 {
					overlaps.Add(1)
				}
				turns.Add(1)
				runtime.Gosched()
				inside.Add(-1)
				release()
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(overlaps.Load())/float64(turns.Load())*100, "overlaps/100")
}
