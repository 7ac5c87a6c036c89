package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/proc"
)

// youngChild returns a script of a shell that starts the child as soon as the gate exists. This is
// long after the supervisor has written its last record. The shell ends with its supervisor. The
// child runs on.
func youngChild(gate, child string) string {
	return "until [ -e " + gate + " ]; do sleep 0.01; done; " + child + " & echo I am $!; wait"
}

// awaitReaped waits until process 1 has waited for these processes. As zombies, they still prove to
// which worker the group and the session belong.
func (b *background) awaitReaped(pids ...int) {
	b.t.Helper()
	for end := time.Now().Add(proctest.Patience); len(pids) > 0; time.Sleep(time.Millisecond) {
		if _, lists := proc.Of(pids[0]); !lists {
			pids = pids[1:]
		} else if time.Now().After(end) {
			b.t.Skip("process 1 of this machine reaps no zombies")
		}
	}
}

// A program may replace its children at any time. All of them may then be younger than the last
// record, when its supervisor is killed.
// Row D10.
func TestASurvivorYoungerThanTheRecordIsIdentifiedByInheritedData(t *testing.T) {
	t.Parallel()
	// Like the workers of nginx, this child executes no other program.
	const forked = "(while :; do sleep 0.01; done)"
	for what, tt := range map[string]struct {
		prefix, child string
		known         bool
	}{
		"its environment":                {child: "sleep 60", known: true},
		"its environment, elsewhere":     {child: "setsid sh -c 'echo I am $$; exec sleep 60'", known: true},
		"the memory of the program":      {prefix: "env -i PATH=" + os.Getenv("PATH"), child: forked, known: true},
		"neither: it may be a stranger":  {prefix: "env -i PATH=" + os.Getenv("PATH"), child: "sleep 60"},
		"no address of it is random":     {prefix: "setarch -R env -i PATH=" + os.Getenv("PATH"), child: forked},
		"not random, but an environment": {prefix: "setarch -R", child: "sleep 60", known: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(tt.prefix, "setarch") {
				proctest.NeedsCommand(t, "setarch", "-R")
			}
			b := inBackground(t)
			gate := filepath.Join(t.TempDir(), "gate")
			argv := append(strings.Fields(tt.prefix), "sh", "-c", youngChild(gate, tt.child))
			b.readied(proctest.Call(t, guard, append(b.args("supervise=settle:20ms", "start", "--"), argv...)...))
			worker, record := b.worker(0), b.status()
			proctest.Touch(t, gate)
			pids := b.announced(1)
			left := pids[len(pids)-1]
			p, ok := proc.Of(left)
			require.True(t, ok)
			require.Greater(t, p.Began+proc.Tick, record.WorkerKnown)
			require.Equal(t, record.WorkerKnown, b.status().WorkerKnown, "the record was written again, or this test shows nothing")
			b.killSupervisor()
			b.awaitReaped(worker, record.PID)
			require.False(t, hasEnded(left))
			if tt.known {
				b.readied(b.guard("exec sleep 60", "start"))
				require.True(t, hasEnded(left))
				b.stop()
				return
			}
			got := withoutLog(b.guard("exec sleep 60", "start"))
			require.Equal(t, 1, got.Code)
			require.Contains(t, got.Stderr, "guard: start failed: these processes may belong to an earlier worker: ")
			require.Contains(t, got.Stderr, itsPID(left))
			require.False(t, hasEnded(left))
			require.NoError(t, syscall.Kill(-worker, syscall.SIGKILL))
			b.readied(b.guard("exec sleep 60", "start"))
			b.stop()
		})
	}
}
