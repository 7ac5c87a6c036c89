package supervise

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// In every state, the exit of the worker leads to gone. During a stop, the deadlines lead to gone
// too.
func TestEveryStateOfAWorkerLeadsToItsEnd(t *testing.T) {
	t.Parallel()
	for s := staged; s < gone; s++ {
		require.Equal(t, gone, transitions[s][exited], "state %d", s)
		next := s
		if to := transitions[next][stopRequested]; to != stay {
			next = to
		}
		for steps := 0; next != gone; steps++ {
			require.Less(t, steps, 4, "the deadlines do not end state %d", s)
			to := transitions[next][deadlineExpired]
			require.NotEqual(t, stay, to, "the deadline of state %d has no effect", next)
			next = to
		}
	}
}

// A ready worker can only reload, stop and end. It never becomes ready again after a stop has
// begun.
func TestAWorkerThatStopsDoesNotBecomeReadyAgain(t *testing.T) {
	t.Parallel()
	for s := stopping; s < states; s++ {
		for e := executed; e < events; e++ {
			if to := transitions[s][e]; to != stay {
				require.Greater(t, to, s, "state %d, event %d", s, e)
			}
		}
	}
	for e := executed; e < events; e++ {
		require.Equal(t, stay, transitions[gone][e], "event %d", e)
	}
}

func TestOnlyAWorkerThatRunsCanBecomeReadyOrReload(t *testing.T) {
	t.Parallel()
	for s := staged; s < states; s++ {
		require.Equal(t, s == staged || s == starting || s == reloading, transitions[s][saidReady] == ready, "state %d", s)
		require.Equal(t, s == ready, transitions[s][saidReloading] == reloading, "state %d", s)
	}
}
