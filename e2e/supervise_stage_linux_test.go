package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// stageHunter suspends the stages of the workers of a supervisor before they execute their program.
// Any process of the same user can do that.
type stageHunter struct {
	b      *background
	parent int
}

// catch suspends the next stage of the supervisor and returns its PID. It kills each worker whose
// stage it did not suspend in time. It returns 0 if the supervisor has ended.
func (h stageHunter) catch() (stage int) {
	h.b.t.Helper()
	proctest.Eventually(h.b.t, func() bool {
		for _, text := range childrenOf(h.b.t, h.parent) {
			pid, err := strconv.Atoi(text)
			require.NoError(h.b.t, err)
			if !isStage(pid) {
				if path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && path != proctest.Binary() {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
				continue
			}
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			for isStage(pid) && !isStopped(pid) { // SIGSTOP takes effect with a delay
			}
			if isStage(pid) {
				stage = pid
				return true
			}
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		return proctest.IsOver(h.parent)
	}, "a suspended stage")
	return stage
}

// isStage reports whether the process still executes this program, and not yet the supervised one.
func isStage(pid int) bool {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return string(comm) == "exe\n"
}

func isStopped(pid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	return len(fields) > 0 && (fields[0] == "T" || fields[0] == "t")
}

// Any process of the same user can suspend a stage with SIGSTOP. A suspended stage once blocked the
// supervisor and its lock forever.
// Row H13.
func TestASuspendedStageCountsAsOneCrashAndTheNextWorkerRuns(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.readied(b.guard("exec sleep 60", atOnce+",settle:20ms", "starttimeout=500ms", "start"))
	stage := stageHunter{b, parent}.catch()
	s := b.told("another worker", func(s lifecycle.Status) bool { return s.Worker != 0 && s.Worker != stage && s.Phase == lifecycle.Ready })
	require.Equal(t, "not ready after 500ms", s.LastExit.Error)
	require.True(t, proctest.IsOver(stage))
	require.Zero(t, b.call("status", "--ready").Code)
	b.stop()
}

// Row H13.
func TestAStopSucceedsWhileAStageIsSuspended(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.readied(b.guard("exec sleep 60", atOnce+",settle:20ms", "starttimeout=1h", "start"))
	stage := stageHunter{b, parent}.catch()
	b.stop()
	require.True(t, proctest.IsOver(stage))

	p := proctest.Start(t, guard, append(b.args(atOnce, "starttimeout=1h", "run"), "--", "sleep", "60")...)
	b.worker(0)
	stage = stageHunter{b, p.PID()}.catch()
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
	require.True(t, proctest.IsOver(stage))
}

// catchFirst starts one supervisor after another. It returns the first supervisor whose first stage
// it could suspend in time.
func (b *background) catchFirst(starttimeout string) (parent *proctest.Process, stage int) {
	b.t.Helper()
	for {
		parent = proctest.Start(b.t, guard, append(b.args(atOnce, starttimeout, "run"), "--", "sleep", "60")...)
		stage = stageHunter{b, parent.PID()}.catch()
		switch {
		case stage != 0 && parent.Out.Count("INFO ready") == 0:
			return parent, stage
		case stage != 0: // of the second worker: the first one was ready
			parent.Signal(syscall.SIGTERM)
		}
		parent.Wait() // the stage had already executed the program
	}
}

// Row H13.
func TestAStartFailsIfItsFirstStageIsSuspended(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	p, stage := b.catchFirst("starttimeout=1s")
	require.Equal(t, 1, p.Wait(), "%s", p.Out)
	require.Equal(t, 1, p.Out.Count(`start failed err="not ready after 1s"`), "%s", p.Out)
	require.True(t, proctest.IsOver(stage))

	p, stage = b.catchFirst("starttimeout=1h")
	p.Signal(syscall.SIGTERM)
	p.Wait()
	require.True(t, proctest.IsOver(stage))
}

func TestAWorkerThatIsAlwaysSuspendedIsKilled(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard("exec sleep 60", "stoptimeout=100ms", "start"))
	worker := b.worker(0)
	over := make(chan struct{})
	hunted := make(chan struct{})
	go func() {
		defer close(hunted)
		for syscall.Kill(worker, syscall.SIGSTOP) == nil {
			select {
			case <-over:
				return
			default:
			}
		}
	}()
	b.stop()
	close(over)
	<-hunted
}
