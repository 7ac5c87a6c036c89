package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// Rows H2, H3, I9.
func TestASupervisorThatCannotForkTriesAgain(t *testing.T) {
	t.Parallel()
	group := cgroup(t, "pids", nil)
	limit := func(max string) { require.NoError(t, os.WriteFile(filepath.Join(group, "pids.max"), []byte(max), 0)) }
	for what, start := range map[string]func(b *background) int{
		"worker of this binary": func(b *background) int { return b.start("supervise=min:1ms,max:10ms,limit:-1") },
		"supervised program": func(b *background) int {
			return b.readied(b.guard("exec sleep 60", "supervise=min:1ms,max:10ms,limit:-1", "start"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			b := inBackground(t)
			parent := start(b)
			worker := b.worker(0)
			require.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(parent)), 0))
			limit("0")
			require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
			b.awaitSaid("resource temporarily unavailable")
			limit("max")
			b.worker(worker)
			require.Equal(t, parent, b.status().PID)
			b.stop()
		})
	}
}

func TestASignalThatComesWhileAWorkerStartsDoesNotEndIt(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.start(atOnce)
	for range 3 {
		worker := b.worker(0)
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		b.told("another worker to be ready", func(s lifecycle.Status) bool {
			require.NoError(t, syscall.Kill(parent, syscall.SIGALRM))
			return s.Worker != 0 && s.Worker != worker && s.Phase == lifecycle.Ready
		})
	}
	require.Equal(t, 3, b.status().Restarts)
	b.stop()
}

func TestAReloadWhileAWorkerStartsWaitsForIt(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	proctest.Touch(t, gate)
	b.start(atOnce, "start=until:"+gate)
	worker := b.worker(0)
	require.NoError(t, os.Remove(gate))
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.told("a worker that starts", func(s lifecycle.Status) bool {
		return s.Restarts == 1 && s.Phase == lifecycle.Starting && s.Worker != 0
	})
	reload := proctest.Start(t, daemon, b.args("reload")...)
	b.told("the reload, which begins with the log", func(s lifecycle.Status) bool { return s.LastReopen != nil })
	require.Equal(t, 150, b.call("status", "--ready").Code)
	proctest.Touch(t, gate)
	require.Equal(t, 0, reload.Wait(), "%s", reload.Out)
	b.stop()
}

func TestAStopDuringTheFirstStartReturnsTheExitCodeOfTheWorker(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	pidfile := proctest.PIDPath(t)
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "supervise=foreground", "start=until:"+gate, "exit=exit:5", "run")
	p.Await("OnStart")
	p.Signal(syscall.SIGTERM)
	p.Await("stopping")
	proctest.Touch(t, gate)
	require.Equal(t, 5, p.Wait(), "%s", p.Out)
	requireNothingLeft(t, pidfile)
}

func TestTheSupervisorHoldsThePIDFileAndItsWorkerRunsTheHooks(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.start(atOnce)
	worker := b.worker(0)
	require.NotEqual(t, parent, worker)
	require.Equal(t, parent, mustLook(t, b.pidfile).PID)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", worker))
	require.NoError(t, err)
	var ppid, pgrp int
	fmt.Sscanf(string(stat[strings.LastIndexByte(string(stat), ')')+2:]), "S %d %d", &ppid, &pgrp)
	require.Equal(t, parent, ppid)
	require.Equal(t, worker, pgrp)
	require.Equal(t, 1, strings.Count(b.said(), "OnStart\n"), "no hook runs in the parent:\n%s", b.said())
	require.Regexp(t, fmt.Sprintf(`^daemon: ready \(pid %d, worker %d\) for \ds\n  log: /.*\n$`, parent, worker), b.call("status").Stdout)
	b.stop()
	for _, once := range []string{"OnStart\n", "fn\n", "fn done", "OnStop\n", "OnExit done"} {
		require.Equal(t, 1, strings.Count(b.said(), once), "%s:\n%s", once, b.said())
	}
}

// Rows D10, H9.
func TestAWorkerStopsWithinASecondAfterItsSupervisorIsKilled(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"stop=", "stop=hang", "run=hang", "start=until:"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			if what == "start=until:" {
				what += filepath.Join(t.TempDir(), "gate")
				proctest.Touch(t, strings.TrimPrefix(what, "start=until:"))
			}
			parent := b.start(atOnce, what)
			worker := b.worker(0)
			require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
			proctest.Eventually(t, func() bool { return !mustLook(t, b.pidfile).Held }, "the end of the supervisor")
			second := b.start(atOnce, what)
			require.True(t, proctest.IsOver(worker), "the next start waits for the worker")
			require.NotEqual(t, parent, second)
			require.Contains(t, b.said(), "the supervisor of this worker has ended")
			found, err := lifecycle.Find(b.pidfile)
			require.NoError(t, err)
			defer found.Close()
			require.NoError(t, found.Kill(t.Context()))
			proctest.Eventually(t, func() bool { return len(b.processes()) == 0 }, "all to be gone")
			require.NoError(t, os.Remove(b.pidfile))
			require.NoError(t, os.Remove(proctest.StatePath(b.pidfile)))
		})
	}
}

// Row D10.
func TestAProgramIsKilledWithItsSupervisorAndTheNextStartWorks(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	const stubborn = "trap '' TERM HUP INT; exec sleep 60"
	parent := b.readied(b.guard(stubborn, "start"))
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
	proctest.Eventually(t, func() bool { return !mustLook(t, b.pidfile).Held && proctest.IsOver(worker) }, "the program to be killed")
	b.readied(b.guard(stubborn, "stoptimeout=20ms", "start"))
	require.NotEqual(t, worker, b.worker(0))
	b.stopKilling()
}
