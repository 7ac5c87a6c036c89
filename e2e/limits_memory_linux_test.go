package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// hungry is a daemon that needs more memory during its start than its limit:
//
//	hungry pidfile=PATH log=PATH as|CGROUP verb
//
// CGROUP is the file through which it enters a memory cgroup.
var hungry = proctest.Register("hungry", func(args []string) int {
	const enough = 256 << 20
	return lifecycle.Main(args[3:], nil, lifecycle.Name("hungry"), lifecycle.PIDFile(strings.TrimPrefix(args[0], "pidfile=")), lifecycle.LogFile(strings.TrimPrefix(args[1], "log=")),
		lifecycle.OnStart(func(context.Context) error {
			err := os.WriteFile(args[2], []byte(strconv.Itoa(os.Getpid())), 0o600)
			if args[2] == "as" {
				var pages uint64
				text, readErr := os.ReadFile("/proc/self/statm")
				_, _ = fmt.Sscan(string(text), &pages)
				size := pages*uint64(os.Getpagesize()) + enough/4
				err = errors.Join(readErr, unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: size, Max: size}))
			}
			var eaten [][]byte
			for range enough >> 20 {
				if err != nil {
					break
				}
				eaten = append(eaten, make([]byte, 1<<20))
				for i := 0; i < 1<<20; i += os.Getpagesize() {
					eaten[len(eaten)-1][i] = 1
				}
			}
			return errors.Join(err, fmt.Errorf("there was memory for %d MB", len(eaten)))
		}))
})

// Row I4.
func TestAStartWithoutMemoryReportsTheCrash(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.crashes = true
	got := proctest.Call(t, hungry, b.args("as", "start")...)
	require.Equal(t, 1, got.Code)
	// The Go runtime may instead crash because it reads memory that it could not allocate, or
	// because it needs a thread.
	require.Regexp(t, `^hungry: start failed: died before it was ready \((exit \d+|signal SIG\w+)\); its last words:\n(  \| .*\n)*?`+
		`  \| (.*(out of memory|address space|allocate memory|create new OS thread)|SIG(SEGV|BUS|ABRT): )`, got.Stderr)
	b.requireNothingLeft()
	b.requireStartsHere()
}

// Row I8.
func TestAStartThatTheOOMKillerEndsIsReportedAndTheNextStartWorks(t *testing.T) {
	t.Parallel()
	group := cgroup(t, "memory", map[string]string{"memory.limit_in_bytes": "20M"})
	_ = os.WriteFile(filepath.Join(group, "memory.memsw.limit_in_bytes"), []byte("20M"), 0)
	b := inBackground(t)
	got := proctest.Call(t, hungry, b.args(filepath.Join(group, "cgroup.procs"), "start")...)
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "hungry: start failed: died before it was ready (signal SIGKILL)")
	require.Empty(t, b.processes())
	require.True(t, isFree(t, b.pidfile))
	b.requireStartsHere()
}
