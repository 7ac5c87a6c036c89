package e2e

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// A verb is killed at any of its system calls. At most, the daemon has received the signal.
// Row D15.
func TestAKilledVerbHasNoEffectExceptItsSignal(t *testing.T) {
	needsTrace(t)
	t.Parallel()
	for _, verb := range proctest.Few(1, []string{"status", "reload", "stop", "reopen", "restart"}) {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			_, counts := sweepCaller(t, verb, 0)
			sweepAll(t, counts[launcherStage], proctest.Rounds(1, 2, 2), func(t *testing.T, at int) string {
				outcome, _ := sweepCaller(t, verb, at)
				return outcome
			})
		})
	}
}

// sweepCaller kills the process of the verb at that call.
func sweepCaller(t *testing.T, verb string, at int) (outcome string, counts []int) {
	t.Helper()
	pidfile := proctest.PIDPath(t)
	endAll(t, pidfile)
	log := pidfile + ".log"
	started := callVerb(t, pidfile, "log="+log, "start")
	require.Equal(t, 0, started.Code, started.Stderr)
	pid := verbSays(t, verbReady, started.Stderr)
	p := startTraced(t, launcherStage, at, pidfile, "log="+log, verb)
	code := p.awaitExit()
	p.settle()
	counts = p.letGo()
	running := p.settle()

	killed := p.numbers("killed")
	if running == pid && p.sentTERM() {
		proctest.Eventually(t, func() bool { running = p.settle(); return running != pid }, "the effect of a TERM")
	}
	what := fmt.Sprintf("killed %v, exit %d, then %d; said:\n%s", killed, code, running, p.Out)
	if len(killed) == 0 {
		require.Equal(t, 0, code, what)
	}
	outcome = "ready"
	switch {
	case running == 0:
		outcome = "gone"
		require.Contains(t, []string{"stop", "restart"}, verb, what)
		require.NoFileExists(t, proctest.StatePath(pidfile), what)
		text, err := os.ReadFile(pidfile)
		require.True(t, errors.Is(err, os.ErrNotExist) || verb == "restart" && len(text) == 0, "%s, %v; %s", text, err, what)
	case running != pid:
		outcome = "another one is ready"
		require.Equal(t, "restart", verb, what)
		require.NotContains(t, p.Out.String(), "start failed", what)
	default:
		require.False(t, len(killed) == 0 && (verb == "stop" || verb == "restart"), what)
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, counts
}

// sentTERM reports whether the launcher has sent TERM. A launcher that was killed at that call has
// not.
func (p *sweptStart) sentTERM() bool {
	p.t.Helper()
	sent, killed := p.made()[launcherStage][sendsTERM], p.numbers("killed")
	if len(killed) > 0 && (killed[2] == unix.SYS_PIDFD_SEND_SIGNAL || killed[2] == unix.SYS_KILL) {
		sent--
	}
	return sent > 0
}
