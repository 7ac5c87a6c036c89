package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// Rows K2, K3, K4.
func TestAServiceManagerGetsTheMessagesOfALifeInOrder(t *testing.T) {
	t.Parallel()
	for where, address := range map[string]string{"path": filepath.Join(proctest.ShortDir(t), "s"), "abstract": "@lifecycle" + filepath.Base(proctest.ShortDir(t))} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			if where == "abstract" {
				proctest.Needs(t, "linux")
			}
			m := proctest.ManagerAt(t, address)
			cmd := proctest.Command(daemon, "pidfile="+proctest.PIDPath(t), "starttimeout=4s", "reloadtimeout=8s", "stoptimeout=40s", "run")
			cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address)
			p := proctest.Launch(t, cmd)
			require.Equal(t, []string{
				"EXTEND_TIMEOUT_USEC=5000000\nSTATUS=starting",
				"STATUS=starting: OnStart of daemon",
				"READY=1\nSTATUS=ready",
			}, m.Await("READY=1"))
			p.Signal(syscall.SIGHUP)
			require.Equal(t, []string{
				"RELOADING=1\nMONOTONIC_USEC=N\nEXTEND_TIMEOUT_USEC=10000000\nSTATUS=reloading",
				"STATUS=reloading: OnCheck of daemon",
				"STATUS=reloading: OnReload of daemon",
				"READY=1\nSTATUS=ready",
			}, m.Await("READY=1"))
			p.Signal(syscall.SIGTERM)
			require.Equal(t, 0, p.Wait())
			// The first message may arrive together with the second one, because the hook does not
			// wait for it. fn may already have returned.
			all := regexp.MustCompile(`STATUS=stopping(: Run of daemon)?\n`).ReplaceAllString(strings.Join(m.Messages(), "\n")+"\n", "")
			require.Equal(t, "STOPPING=1\nEXTEND_TIMEOUT_USEC=45000000\n"+
				"STATUS=stopping: OnStop of daemon\nSTATUS=stopping: OnExit of daemon\n", all)
		})
	}
}

// The test compares every byte of all messages of a life. The life sends no other message and uses
// no other order.
// Rows K2, K3, K4, K6.
func TestTheMessagesOfALifeAreComplete(t *testing.T) {
	t.Parallel()
	address := filepath.Join(proctest.ShortDir(t), "s")
	m := proctest.ManagerAt(t, address)
	config := filepath.Join(t.TempDir(), "config")
	proctest.Touch(t, config)
	cmd := proctest.Command(daemon, "pidfile="+proctest.PIDPath(t), "reload=cat:"+config, "run")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address, "WATCHDOG_USEC=20000")
	p := proctest.Launch(t, cmd)
	require.Equal(t, []string{
		"EXTEND_TIMEOUT_USEC=65000000\nSTATUS=starting",
		"STATUS=starting: OnStart of daemon",
		"READY=1\nSTATUS=ready",
	}, withoutSigns(m.Await("READY=1")))
	require.Empty(t, withoutSigns(m.Await("WATCHDOG=1")))

	reloading := []string{
		"RELOADING=1\nMONOTONIC_USEC=N\nEXTEND_TIMEOUT_USEC=35000000\nSTATUS=reloading",
		"STATUS=reloading: OnCheck of daemon",
		"STATUS=reloading: OnReload of daemon",
	}
	p.Signal(syscall.SIGHUP)
	require.Equal(t, append(reloading, "READY=1\nSTATUS=ready"), withoutSigns(m.Await("READY=1")))
	require.NoError(t, os.Remove(config))
	p.Signal(syscall.SIGHUP)
	why := "OnReload of daemon: open " + config + ": no such file or directory"
	require.Equal(t, append(reloading, "READY=1\nX_LIFECYCLE_ERROR="+why+"\nSTATUS=ready, last reload rejected: "+why), withoutSigns(m.Await("READY=1")))
	proctest.Touch(t, config)
	p.Signal(syscall.SIGHUP)
	require.Equal(t, append(reloading, "READY=1\nSTATUS=ready"), withoutSigns(m.Await("READY=1")))

	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	require.Equal(t, []string{
		"STOPPING=1\nEXTEND_TIMEOUT_USEC=25000000", "STATUS=stopping: OnStop of daemon", "STATUS=stopping: OnExit of daemon",
	}, stopOf(m.Messages()))
}

// The last message of a failed start is the reason. Before it, the roll-back sends the messages of
// an ordinary stop.
// Row K2.
func TestTheMessagesOfAFailedStartAreComplete(t *testing.T) {
	t.Parallel()
	address := filepath.Join(proctest.ShortDir(t), "s")
	m := proctest.ManagerAt(t, address)
	require.Equal(t, 1, managed(t, address, "start=cat:/no/such/file", "run").Wait())
	all := m.Messages()
	require.Equal(t, []string{"EXTEND_TIMEOUT_USEC=65000000\nSTATUS=starting", "STATUS=starting: OnStart of daemon"}, all[:2])
	why := "OnStart of daemon: open /no/such/file: no such file or directory"
	require.Equal(t, []string{
		"STOPPING=1\nEXTEND_TIMEOUT_USEC=25000000", "STATUS=" + why + "\nX_LIFECYCLE_ERROR=" + why + "\nX_LIFECYCLE_EXIT=1\nERRNO=2",
	}, stopOf(all[2:]))
}

func withoutSigns(all []string) []string {
	return slices.DeleteFunc(all, func(message string) bool { return message == "WATCHDOG=1" })
}

// stopOf returns the messages of a stop. It omits signs of life and the texts that depend on
// timing.
func stopOf(all []string) (stop []string) {
	for _, message := range withoutSigns(all) {
		lines := slices.DeleteFunc(strings.Split(message, "\n"), func(line string) bool {
			return line == "STATUS=stopping" || line == "STATUS=stopping: Run of daemon" || line == "STATUS=stopping: Watchdog of daemon"
		})
		hook := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "STATUS=stopping: ") })
		if hook > 0 { // it came with the first
			stop, lines = append(stop, strings.Join(lines[:hook], "\n")), lines[hook:]
		}
		if len(lines) > 0 {
			stop = append(stop, strings.Join(lines, "\n"))
		}
	}
	return stop
}

// managed runs the program daemon with a manager at that address.
func managed(t *testing.T, address string, args ...string) *proctest.Process {
	t.Helper()
	cmd := proctest.Command(daemon, append([]string{"pidfile=" + proctest.PIDPath(t)}, args...)...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address, "WATCHDOG_USEC=1", "WATCHDOG_PID=1")
	return proctest.Launch(t, cmd)
}

func TestAServiceManagerGetsTheReasonOfAFailedStart(t *testing.T) {
	t.Parallel()
	address := filepath.Join(proctest.ShortDir(t), "s")
	m := proctest.ManagerAt(t, address)
	require.Equal(t, 1, managed(t, address, "start=error", "run").Wait())
	all := m.Messages()
	require.Equal(t, "STATUS=OnStart of daemon: OnStart failed on purpose\nX_LIFECYCLE_ERROR=OnStart of daemon: OnStart failed on purpose\nX_LIFECYCLE_EXIT=1", all[len(all)-1])
	require.NotContains(t, strings.Join(all, "\n"), "READY=1")

	require.Equal(t, 1, managed(t, address, "workdir=/no/such/place", "run").Wait())
	all = m.Messages()
	require.Equal(t, "STATUS=working directory: chdir /no/such/place: no such file or directory\n"+
		"X_LIFECYCLE_ERROR=working directory: chdir /no/such/place: no such file or directory\nX_LIFECYCLE_EXIT=1\nERRNO=2", all[len(all)-1])
}

// Row K3.
func TestARefusedReloadEndsWithReady(t *testing.T) {
	t.Parallel()
	address := filepath.Join(proctest.ShortDir(t), "s")
	m := proctest.ManagerAt(t, address)
	p := managed(t, address, "check=error", "run")
	m.Await("READY=1")
	p.Signal(syscall.SIGHUP)
	all := m.Await("READY=1")
	require.Contains(t, all[0], "RELOADING=1\nMONOTONIC_USEC=N\n")
	require.Equal(t, "READY=1\nX_LIFECYCLE_ERROR=OnCheck of daemon: OnCheck failed on purpose\nSTATUS=ready, last reload rejected: OnCheck of daemon: OnCheck failed on purpose", all[len(all)-1])
}
