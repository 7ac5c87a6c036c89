package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/sdnotify"
)

func TestSignalsAreForwardedToTheWorker(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.start(atOnce)
	require.NoError(t, syscall.Kill(parent, syscall.SIGALRM))
	b.awaitSaid("OnSignal done")
	require.NoError(t, os.Rename(b.log, b.log+".1"))
	require.Equal(t, 0, b.call("reopen").Code)
	require.Equal(t, 0, b.call("reload").Code)
	require.Contains(t, b.said(), "OnReload done", "the worker has reopened the log")
	require.NotContains(t, b.said(), "OnStart")
	b.stop()
}

func TestTheVerbRunDoesNotSuperviseUnlessThePolicySaysSo(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "supervise=", "run")
	b := &background{t: t, pidfile: pidfile}
	require.False(t, b.status().Supervised)
	require.Zero(t, b.status().Worker)
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
}

// talker is a worker that sends more notifications than Run does, and starts other processes that
// also send some. Its argument is the behaviour of its reload.
var talker = proctest.Register("talker", func(args []string) int {
	address := os.Getenv("NOTIFY_SOCKET")
	speak := func(lines ...string) {
		socket, err := sdnotify.Dial(address)
		if err == nil {
			err = socket.Send(lines...)
			socket.Close()
		}
		if err != nil {
			fmt.Println("cannot speak:", err)
		}
	}
	if len(args) > 1 && args[0] == "say" {
		speak(args[2:]...)
		return 0
	}
	does := map[string]string{}
	for len(args) > 1 {
		key, value, _ := strings.Cut(args[0], "=")
		does[key], args = value, args[1:]
	}
	return lifecycle.Main(args, nil, lifecycle.Name("talker"), lifecycle.PIDFile(does["pidfile"]), lifecycle.LogFile(does["log"]), lifecycle.Supervise(parsePolicy("min:-1ns,limit:-1")),
		lifecycle.OnReload(func(context.Context) error {
			switch does["do"] {
			case "flood":
				for n := range proctest.Rounds(4_000, 20_000, 20_000) {
					speak("STATUS=" + strconv.Itoa(n))
				}
			case "garbage":
				speak("")
				speak("\n\n=\n=1\nREADY\nEXTEND_TIMEOUT_USEC=x\nEXTEND_TIMEOUT_USEC=-1\nWATCHDOG=0")
				speak("X_LIFECYCLE_STATE={", "X_LIFECYCLE_FAILURE=[1]", "FDSTORE=1", "FDNAME=nothing", "FDSTOREREMOVE=1")
				speak(strings.Repeat("x", 100_000))
				speak("MAINPID=1")
			case "imposter":
				cmd := exec.Command("/proc/self/exe", "say", "it", "READY=1", "STOPPING=1", "X_LIFECYCLE_ERROR=from a stranger", "STATUS=from a stranger")
				cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+address)
				cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
				return cmd.Run()
			}
			return nil
		}))
})

func TestMessagesOfAWorkerDoNotHarmItsSupervisor(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"flood", "garbage", "imposter"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			args := func(verb string) []string { return b.args("do="+what, verb) }
			b.readied(proctest.Call(t, talker, args("start")...))
			before := b.told("it to be ready", func(s lifecycle.Status) bool { return s.Phase == lifecycle.Ready })
			got := proctest.Call(t, talker, args("reload")...)
			require.Equal(t, 0, got.Code, "%s", got.Stderr)
			s := b.told("it to be ready", func(s lifecycle.Status) bool { return s.Phase == lifecycle.Ready })
			require.Equal(t, before.Worker, s.Worker)
			require.NotContains(t, s.Text, "stranger")
			require.NotContains(t, b.said(), "cannot speak: write @: ")
			require.NoError(t, syscall.Kill(s.Worker, syscall.SIGKILL))
			b.worker(s.Worker)
			b.stop()
		})
	}
}

func TestOnlyTheWorkerChangesItsUser(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b := inBackground(t)
	require.NoError(t, os.Chmod(filepath.Dir(b.log), 0o755))
	b.readied(b.guard("echo it is $(id -u) $(id -g); exec sleep 60", "user=12345:12345", "start"))
	require.Equal(t, 0, uidOf(t, b.status().PID))
	b.awaitSaid("it is 12345 12345\n") // it is executed by now
	require.Equal(t, 12345, uidOf(t, b.worker(0)))
	b.stop()

	b = inBackground(t)
	parent := b.start(atOnce, "user=12345:12345")
	first := b.worker(0)
	require.Equal(t, 0, uidOf(t, parent))
	require.Equal(t, 12345, uidOf(t, first))
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.Equal(t, 12345, uidOf(t, b.worker(first)), "OnStart of the next worker has root's rights again")
	require.Equal(t, 0, b.call("reload").Code)
	b.stop()
}

// uidOf returns the effective user of a process.
func uidOf(t *testing.T, pid int) (uid int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(status), "Uid:")
	_, err = fmt.Sscan(rest, &uid, &uid)
	require.NoError(t, err)
	return uid
}

// moving is a program that requests another PID file in each process.
var moving = proctest.Register("moving", func(args []string) int {
	err := lifecycle.Run(nil, lifecycle.PIDFile(args[0]+strconv.Itoa(os.Getpid())), lifecycle.OnStart(started), lifecycle.Supervise(parsePolicy("foreground")))
	fmt.Println("Run returned:", err)
	return lifecycle.ExitCode(err)
})

func TestAWorkerWithAnotherPIDFileDoesNotBecomeASupervisor(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, moving, proctest.PIDPath(t))
	require.Equal(t, 1, p.Wait())
	require.Regexp(t, `Run returned: lifecycle: the supervisor uses the PID file ".*", but its worker uses ".*": pass both the same PID file\n`, p.Out.String())
	require.Contains(t, p.Out.String(), "died before it was ready (exit 1)")
}
