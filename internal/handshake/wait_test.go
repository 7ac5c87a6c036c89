package handshake

import (
	"testing"
	"time"

	"example.com/lifecycle/internal/sys/ctlsock"
	"example.com/lifecycle/internal/sys/detach"
	"github.com/stretchr/testify/require"
)

// If a daemon does nothing, the launcher requests a stop, if the state permits one, and then kills
// the daemon. No state lasts forever.
func TestEveryStateOfAStartEndsByItsDeadline(t *testing.T) {
	t.Parallel()
	for state, next := range map[state][]state{
		launching: {launching, killing, killing},
		starting:  {starting, undoing, undoing, killing, killing},
		undoing:   {undoing, killing, killing},
		killing:   {killing},
	} {
		ours, theirs, err := ctlsock.Pair()
		require.NoError(t, err)
		l := newLaunch(Spec{Began: time.Now(), StartTimeout: time.Hour, Limits: Limits{Stop: time.Hour}}, detach.NewPeer(ours))
		l.state, l.deadline = state, time.NewTimer(time.Hour)
		for i, want := range next {
			require.False(t, l.expired(), "state %d, step %d", state, i)
			require.Equal(t, want, l.state, "state %d, step %d", state, i)
		}
		require.True(t, l.expired(), "state %d", state)
		if state != killing {
			require.ErrorAs(t, l.cause, new(*TimeoutError))
		}
		l.deadline.Stop()
		ours.Close()
		theirs.Close()
	}
}
