package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// callsVerb returns a script that calls a verb of the guard on USR2.
func (b *background) callsVerb(verb string) (script string) {
	proctest.Command(guard) // marks it as used
	call := fmt.Sprintf("env %s=%s %s %s", proctest.Variable, guard, proctest.Binary(), strings.Join(b.args(verb), " "))
	return "trap '" + call + "; echo it goes on' USR2; echo waits; while :; do sleep 0.01; done"
}

// A session of sshd, or a program that updates itself, is ended with the worker.
func TestARestartByADescendantReplacesTheWorker(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	supervisor := b.readied(b.guard(b.callsVerb("restart"), "supervise=settle:1ms", "start"))
	b.awaitSaid("waits")
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(supervisor, syscall.SIGUSR2))
	second := b.worker(worker)
	s := b.told("it to be ready", func(s lifecycle.Status) bool { return s.Phase == lifecycle.Ready && s.Worker == second })
	require.Equal(t, supervisor, s.PID)
	require.Zero(t, strings.Count(b.said(), "stopping"))
	b.stop()
}

func TestAStopByADescendantStopsTheWholeDaemon(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	supervisor := b.readied(b.guard(b.callsVerb("stop"), "supervise=settle:1ms", "start"))
	b.awaitSaid("waits")
	require.NoError(t, syscall.Kill(supervisor, syscall.SIGUSR2))
	proctest.Eventually(t, func() bool { return proctest.IsOver(supervisor) }, "the end of the daemon")
	b.requireNothingLeft()
}
