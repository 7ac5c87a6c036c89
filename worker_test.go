package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAWorkerThatAsksForMoreTimeDoesNotGetLess(t *testing.T) {
	t.Parallel()
	w := &workerProcess{limit: time.AfterFunc(time.Hour, func() {})}
	defer w.limit.Stop()
	w.extend("1")
	require.Zero(t, w.due, "nothing is limited")
	w.mustBeDoneIn(time.Minute)
	due := w.due
	for _, less := range []string{"", "x", "-1", "0", "1000000", "99999999999999999999"} {
		w.extend(less)
		require.Equal(t, due, w.due, "%q", less)
	}
	w.extend("3600000000")
	require.WithinDuration(t, time.Now().Add(time.Hour+workerMargin), w.due, time.Minute)
}
