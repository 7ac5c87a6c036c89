package e2e

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// selfishDaemon is the program daemon, but it first writes a number into its PID file. A restarted
// container can find such a number.
var selfishDaemon = proctest.Register("selfish daemon", func(args []string) int {
	pid := map[string]int{"own": os.Getpid(), "parent": os.Getppid()}[args[0]]
	if err := os.WriteFile(args[1], fmt.Appendln(nil, pid), 0o644); err != nil {
		fmt.Println(err)
		return 1
	}
	return proctest.RunAs(daemon, append([]string{"pidfile=" + args[1]}, args[2:]...))
})

// Row C11.
func TestThePIDOfTheProcessOrItsParentInAStaleFileIsStale(t *testing.T) {
	t.Parallel()
	for _, whose := range []string{"own", "parent"} {
		path := proctest.PIDPath(t)
		status := proctest.Start(t, selfishDaemon, whose, path, "status")
		require.Equal(t, 1, status.Wait())
		pid := map[string]int{"own": status.PID(), "parent": os.Getpid()}[whose]
		require.Equal(t, fmt.Sprintf("daemon: dead: pid %d left %s\n", pid, path), status.Out.String())
		for _, name := range []string{"stop", "reload"} {
			require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, proctest.Call(t, selfishDaemon, whose, path, name), whose)
			require.FileExists(t, path)
		}
		p := proctest.Start(t, selfishDaemon, whose, path)
		p.Await("msg=ready")
		proctest.RequireText(t, path, fmt.Sprintln(p.PID()))
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
		require.NoFileExists(t, path)
	}
}

// Row C12.
func TestFindNeedsAPIDFile(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"stop", "reload", "status"} {
		got := callVerb(t, "", name)
		require.NotZero(t, got.Code, name)
		require.Contains(t, got.Stdout+got.Stderr, "cannot find the daemon without a PID file", name)
	}
	_, err := lifecycle.Find("")
	require.ErrorIs(t, err, errors.ErrUnsupported)
}
