package lifecycle

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The time of day is only shown. Go programs do not ask the kernel for it in a way that could be faked here, so it is the state file that comes from the
// past or the future, as it does when the clock has been set since.
// Rows H10, J10.
func TestATimeOfDayThatIsYearsOffChangesNothingThatIsWaitedFor(t *testing.T) {
	t.Parallel()
	for what, years := range map[string]int{"the past": -30, "the future": 30} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			pid := b.start("reload=error")
			require.Equal(t, 1, b.call("reload").code)
			shift := func() {
				s := stateOf(t, b.pidfile)
				for _, at := range []*time.Time{&s.Since, &s.Started, &s.Ready, &s.LastReload.At} {
					*at = at.AddDate(years, 0, 0)
				}
				writeState(t, b.pidfile, s)
			}
			shift()
			found := mustFind(t, b.pidfile)
			require.NoError(t, found.WaitReady(t.Context()))
			status := b.call("status")
			require.Equal(t, 0, status.code)
			require.Contains(t, status.stdout, fmt.Sprintf("daemon: ready (pid %d) for ", pid))
			require.Equal(t, 0, b.call("status", "--ready").code)
			require.ErrorIs(t, found.Reload(t.Context()), ErrReload, "the verdict of this reload and not of the one before")
			require.Equal(t, 2, stateOf(t, b.pidfile).Reloads)
			shift()
			b.stop()
		})
	}
}
