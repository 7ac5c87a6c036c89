package supervise

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnEndOfOrphansThatWasAbandonedIsNotRepeatedInFull(t *testing.T) {
	t.Parallel()
	first, second := &process{}, &process{}
	var o orphans
	o.begin(first)
	o.took = 2 * OrphansMargin
	o.begin(first)
	require.Equal(t, 2*OrphansMargin, o.took, "its time is over")
	o.begin(second)
	require.Zero(t, o.took)
}
