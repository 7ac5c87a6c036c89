package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// watched is a program with a watchdog. Its argument sets the behaviour of the check.
var watched = proctest.Register("watched", func(args []string) int {
	var calls int
	check := func(ctx context.Context) error {
		calls++
		fmt.Println("check")
		switch {
		case calls <= 3:
			return nil
		case args[0] == "fails":
			return errors.New("not well")
		case args[0] == "hangs":
			<-ctx.Done()
			fmt.Println("check was late")
		case args[0] == "is stuck":
			select {}
		}
		return nil
	}
	opts := []lifecycle.Option{lifecycle.PIDFile("")}
	if args[0] != "nothing" {
		opts = append(opts, lifecycle.Watchdog(50*time.Millisecond, check))
	}
	return lifecycle.ExitCode(lifecycle.Run(nil, opts...))
})

func watchedAt(t *testing.T, address, usec, pid string, args ...string) *proctest.Process {
	t.Helper()
	cmd := proctest.Command(watched, args...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address, "WATCHDOG_USEC="+usec)
	if pid != "" {
		cmd.Env = append(cmd.Env, "WATCHDOG_PID="+pid)
	}
	return proctest.Launch(t, cmd)
}

// Row K6.
func TestWatchdogMessagesAreSentOnlyWhileTheCheckSucceeds(t *testing.T) {
	t.Parallel()
	for what, line := range map[string]string{"fails": `msg="Watchdog of`, "hangs": "check was late"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			address := filepath.Join(proctest.ShortDir(t), "s")
			m := proctest.ManagerAt(t, address)
			p := watchedAt(t, address, "1000000", "", what)
			all := m.Await("WATCHDOG=1")
			if what == "fails" {
				p.Await("not well", 3)
			} else {
				p.Await(line, 3)
			}
			all = append(all, m.Messages()...)
			require.Equal(t, 3, strings.Count(strings.Join(all, "\n"), "WATCHDOG=1"), "%q", all)
		})
	}
}

func TestAWatchdogCheckThatHangsIsLoggedWithItsStackBeforeTheManagerActs(t *testing.T) {
	t.Parallel()
	address := filepath.Join(proctest.ShortDir(t), "s")
	proctest.ManagerAt(t, address)
	p := watchedAt(t, address, "50000", "", "is stuck")
	p.Await("Watchdog of ")
	require.Regexp(t, `Watchdog of \S+ does not return, so the manager is about to end this process stack="\S+e2e\.\S+ \S+/watchdog_test\.go:\d+"\n`, p.Out.String())
}

// Row K6.
func TestWatchdogMessagesAreSentWithoutACheck(t *testing.T) {
	t.Parallel()
	address := filepath.Join(proctest.ShortDir(t), "s")
	m := proctest.ManagerAt(t, address)
	p := watchedAt(t, address, "2000", "", "nothing")
	for range 3 {
		m.Await("WATCHDOG=1")
	}
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
}

// Row K5.
func TestAWatchdogForAnotherProcessIsIgnored(t *testing.T) {
	t.Parallel()
	for _, tt := range [][2]string{{"1000", "1"}, {"0", ""}, {"-1", ""}, {"x", ""}, {"", ""}, {"99999999999999999999", ""}, {"1000", "x"}} {
		address := filepath.Join(proctest.ShortDir(t), "s")
		m := proctest.ManagerAt(t, address)
		p := watchedAt(t, address, tt[0], tt[1], "is well")
		m.Await("READY=1")
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
		require.NotContains(t, strings.Join(m.Messages(), "\n"), "WATCHDOG=1")
		require.Zero(t, p.Out.Count("check"))
	}
}
