package lifecycle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// atOnce is a policy that starts the next worker without a delay, however often.
const atOnce = "supervise=min:-1ns,limit:-1"

// status is what the daemon says here.
func (b *background) status() (s Status) {
	b.t.Helper()
	got := b.call("status", "--json")
	require.NoError(b.t, json.Unmarshal([]byte(got.stdout), &s), "%s", got.stdout)
	return s
}

// told waits until the daemon says something of itself.
func (b *background) told(what string, enough func(Status) bool) (s Status) {
	b.t.Helper()
	eventually(b.t, func() bool {
		found, err := Find(b.pidfile)
		if err != nil {
			return false
		}
		defer found.Close()
		s, err = found.Status()
		return err == nil && enough(s)
	}, "%s", what)
	return s
}

// worker waits until there is another worker that is ready than that one, and returns its PID.
func (b *background) worker(than int) (pid int) {
	b.t.Helper()
	return b.told("another worker to be ready", func(s Status) bool { return s.Worker != 0 && s.Worker != than && s.Phase == Ready }).Worker
}

func TestAParentHoldsThePIDFileAndItsWorkerLives(t *testing.T) {
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
	require.Regexp(t, fmt.Sprintf(`^daemon: ready \(pid %d, worker %d\) for \ds\n$`, parent, worker), b.call("status").stdout)
	b.stop()
	for _, once := range []string{"OnStart\n", "fn\n", "fn done", "OnStop\n", "OnExit done"} {
		require.Equal(t, 1, strings.Count(b.said(), once), "%s:\n%s", once, b.said())
	}
}

// Rows D10, H9.
func TestAWorkerStopsWithinASecondWhenItsParentIsKilled(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"stop=", "stop=hang", "run=hang", "start=until:"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			if what == "start=until:" {
				what += filepath.Join(t.TempDir(), "gate")
				touch(t, strings.TrimPrefix(what, "start=until:"))
			}
			parent := b.start(atOnce, what)
			worker := b.worker(0)
			require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
			eventually(t, func() bool { return !mustLook(t, b.pidfile).Held }, "the parent to be dead")
			second := b.start(atOnce, what)
			require.False(t, lives(worker), "the next start waits for it")
			require.NotEqual(t, parent, second)
			require.Contains(t, b.said(), "the parent that supervises this worker is gone")
			found, err := Find(b.pidfile)
			require.NoError(t, err)
			defer found.Close()
			require.NoError(t, found.Kill(t.Context()))
			eventually(t, func() bool { return len(b.processes()) == 0 }, "all to be gone")
			require.NoError(t, os.Remove(b.pidfile))
			require.NoError(t, os.Remove(statePath(b.pidfile)))
		})
	}
}

// lives says whether there is such a process. A zombie is none.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.HasPrefix(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " Z")
}

// Row D10.
func TestAProgramIsKilledWithItsParentAndTheNextStartWorks(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	const stubborn = "trap '' TERM HUP INT; while :; do sleep 0.02; done"
	parent := b.readied(b.guard(stubborn, "start"))
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
	eventually(t, func() bool { return !mustLook(t, b.pidfile).Held && !lives(worker) }, "the program to be killed")
	b.readied(b.guard(stubborn, "stoptimeout=20ms", "start"))
	require.NotEqual(t, worker, b.worker(0))
	b.stop()
}
