package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/sdnotify"
)

// notifier is a program without this library. It executes its steps in order, and then waits
// forever:
//
//	say:LINE|LINE  sends that to its service manager
//	store:LINE|…   sends it with a file
//	names          prints the names of the files that it was given
//	TERM, HUP      waits for that signal, which it ignores otherwise
//	await:PATH     waits for that file
//	exit:N         ends
//	become:UID     becomes that user
//	if:PATH        does the step after the next one only if that file exists
var notifier = proctest.Register("notifier", func(steps []string) int {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	heard := make(map[string]chan os.Signal, len(signals))
	for name, sig := range signals {
		if slices.Contains(steps, name) {
			heard[name] = make(chan os.Signal, 1)
			signal.Notify(heard[name], sig)
		}
	}
	socket, err := sdnotify.Dial(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for ; len(steps) > 0; steps = steps[1:] {
		step, arg, _ := strings.Cut(steps[0], ":")
		switch _, err := os.Stat(arg); step {
		case "say":
			if err := socket.Send(strings.Split(arg, "|")...); err != nil {
				fmt.Println(err)
			}
		case "store":
			r, _, err := os.Pipe()
			if err = errors.Join(err, socket.SendFiles([]*os.File{r}, strings.Split(arg, "|")...)); err != nil {
				fmt.Println(err)
			}
		case "names":
			fmt.Println("names", os.Getenv("LISTEN_FDNAMES"))
		case "await":
			for ; err != nil; _, err = os.Stat(arg) {
				time.Sleep(time.Millisecond)
			}
		case "exit":
			var code int
			fmt.Sscan(arg, &code)
			return code
		case "become":
			var uid int
			fmt.Sscan(arg, &uid)
			if err := syscall.Setuid(uid); err != nil {
				fmt.Println(err)
			}
		case "if":
			if err != nil {
				steps = steps[1:]
			}
		default:
			<-heard[step]
			fmt.Println("heard", step)
		}
	}
	select {}
})

// guardNotifier returns the arguments with which guard keeps the program notifier alive.
func (b *background) guardNotifier(args []string, steps ...string) []string {
	proctest.Command(notifier) // marks it as used
	return slices.Concat(b.args(args...), []string{"--", "env", proctest.Variable + "=" + notifier, proctest.Binary()}, steps)
}

func TestAProgramThatBecomesReadyAfterTheStopRequestIsKilled(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	launcher := proctest.Start(t, guard, b.guardNotifier([]string{"supervise=settle:1h", "stoptimeout=50ms", "start"}, "say:STATUS=warms up", "TERM", "say:READY=1")...)
	b.told("it to say what it does", func(s lifecycle.Status) bool { return s.Text == "warms up" })
	launcher.Signal(syscall.SIGTERM)
	require.NotZero(t, launcher.Wait())
	require.NotContains(t, launcher.Out.String(), "; killed", "the start ends without a signal")
	require.Contains(t, b.said(), "heard TERM")
	b.requireNothingLeft()
}

func TestAProgramThatExitsWithZeroAfterStartTimeoutIsRestarted(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	b.readied(proctest.Call(t, guard, b.guardNotifier([]string{"supervise=min:-1ns,limit:-1,settle:1h", "starttimeout=1s", "start"},
		"say:STATUS=warms up", "if:"+gate, "TERM", "if:"+gate, "exit:0", "say:READY=1", "await:"+gate, "exit:3")...))
	proctest.Touch(t, gate)
	s := b.told("it to be started again", func(s lifecycle.Status) bool { return s.Restarts > 1 && s.LastExit != nil && s.LastExit.Why != "" })
	require.Equal(t, "not ready after 1s", s.LastExit.Why)
	require.Zero(t, s.LastExit.Code)
	b.stop()
}

func TestAProgramThatSendsWatchdogTriggerIsEndedWithItsStackAndRestarted(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(proctest.Call(t, guard, b.guardNotifier([]string{"supervise=min:-1ns,settle:1h", "start"}, "say:READY=1", "HUP", "say:WATCHDOG=trigger")...))
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGHUP))
	s := b.told("it to be started again", func(s lifecycle.Status) bool { return s.Restarts == 1 })
	require.Equal(t, worker, s.LastExit.PID)
	require.Equal(t, 2, s.LastExit.Code)
	require.Equal(t, "it sent WATCHDOG=trigger", s.LastExit.Why)
	require.Contains(t, b.said(), "SIGABRT: abort")
	b.worker(worker)
	b.stop()
}

func TestAProgramThatReloadsBeforeItIsReadyBecomesReady(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(proctest.Call(t, guard, b.guardNotifier([]string{"supervise=settle:1h", "starttimeout=5s", "start"}, "say:RELOADING=1", "say:READY=1")...))
	require.Zero(t, b.status().Reloads)
	b.stop()
}

func TestAStoredSocketWithAnInvalidNameIsNotKept(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(proctest.Call(t, guard, b.guardNotifier([]string{"supervise=min:-1ns,settle:1h", "start"},
		"store:FDSTORE=1|FDNAME=a:b", "store:FDSTORE=1|FDNAME=\a", "store:FDSTORE=1|FDNAME="+strings.Repeat("x", 256), "store:FDSTORE=1|FDNAME=good", "say:READY=1", "names")...))
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	b.awaitSaid("names stored:stored:stored:good\n")
	b.stop()
}

func TestALogThatIsReopenedWhileAProgramStartsDoesNotEndIt(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	proctest.Command(notifier) // marks it as used
	script := fmt.Sprintf("test -e %s && exec sleep 60; %s=%s exec %s say:READY=1 await:%[1]s exit:3", gate, proctest.Variable, notifier, proctest.Binary())
	b.readied(b.guard(script, "supervise=min:-1ns,settle:1s", "start"))
	proctest.Touch(t, gate)
	worker := b.told("a program that starts", func(s lifecycle.Status) bool {
		return s.Restarts == 1 && s.Worker != 0 && s.Phase == lifecycle.Starting
	}).Worker
	require.Equal(t, 0, b.call("reopen").Code)
	require.Equal(t, worker, b.worker(0))
	require.NoError(t, syscall.Kill(b.status().PID, syscall.SIGUSR2))
	b.awaitSaid("does not handle SIGUSR2")
	require.False(t, proctest.IsOver(worker))
	b.stop()
}

func TestAProgramInAnotherNetworkNamespaceCanNotify(t *testing.T) {
	t.Parallel()
	proctest.NeedsCommand(t, "unshare", "-n", "true")
	b := inBackground(t)
	args := b.guardNotifier([]string{"supervise=settle:1h", "start"}, "say:READY=1|STATUS=serves")
	at := slices.Index(args, "--")
	b.readied(proctest.Call(t, guard, slices.Insert(args, at+1, "unshare", "-n")...))
	b.told("its status", func(s lifecycle.Status) bool { return s.Text == "serves" })
	b.stop()
}
