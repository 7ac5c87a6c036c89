package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/proc"
)

// The workers of apache2 ignore TERM if their parent has died. These workers must not delay the
// next start by StopTimeout.
func TestProcessesOfADeadWorkerAreKilledAfterAMoment(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	start := func(script string) { b.readied(b.guard(script, "stoptimeout=1h", "starttimeout=1h", "start")) }
	start("trap '' TERM; sh -c 'echo I am $$; exec sleep 300' & wait")
	worker, left := b.worker(0), b.announced(1)[0]
	b.killSupervisor()
	proctest.Eventually(t, func() bool { return hasEnded(worker) }, "the end of the worker")
	require.False(t, hasEnded(left))
	start("exec sleep 60")
	require.True(t, hasEnded(left))
	b.stop()
}

// lateReaper runs a guard, adopts its orphans (PR_SET_CHILD_SUBREAPER(2const)), and reaps them only
// when its first argument, a file, exists.
var lateReaper = proctest.Register("latereaper", func(args []string) int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Println(err)
		return 1
	}
	cmd := proctest.Command(guard, args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	fmt.Println("started:", cmd.Run())
	for {
		if _, err := os.Stat(args[0]); err == nil {
			_, err = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err == syscall.ECHILD {
				return 0
			}
		}
		time.Sleep(time.Millisecond)
	}
})

// postgres refuses to start if the PID in its own file exists, even if that process is a zombie.
func TestAProgramStartsWhenTheEarlierOneIsReaped(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	own, gate := filepath.Join(t.TempDir(), "own"), filepath.Join(t.TempDir(), "gate")
	script := "if kill -0 $(cat " + own + ") 2>/dev/null; then echo another one runs; exit 1; fi; echo $$ >" + own + "; exec sleep 60"
	args := append(b.args("supervise=settle:20ms", "start", "--"), "sh", "-c", script)
	reaper := proctest.Start(t, lateReaper, append([]string{gate}, args...)...)
	reaper.Await("started: <nil>")
	worker := b.worker(0)
	b.killSupervisor()
	proctest.Eventually(t, func() bool { p, ok := proc.Of(worker); return ok && p.Ended }, "a zombie")

	launcher := proctest.Start(t, guard, args...)
	b.awaitSaid("waiting until the earlier worker, which is a zombie, is reaped")
	proctest.Touch(t, gate)
	require.Equal(t, 0, launcher.Wait(), "%s", launcher.Out)
	require.Equal(t, 0, reaper.Wait())
	require.NotContains(t, b.said(), "another one runs")
	b.stop()
}

// A process 1 that reaps nothing delays the next start only.
func TestAProgramStartsBesideAZombieThatIsNeverReaped(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	args := append(b.args("start", "--"), "sleep", "60")
	reaper := proctest.Start(t, lateReaper, append([]string{gate}, args...)...)
	reaper.Await("started: <nil>")
	worker := b.worker(0)
	b.killSupervisor()
	b.readied(proctest.Call(t, guard, args...))
	p, ok := proc.Of(worker)
	require.True(t, ok && p.Ended, "it is still a zombie")
	proctest.Touch(t, gate)
	require.Equal(t, 0, reaper.Wait())
	b.stop()
}
