package monotonic

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheClockNeverGoesBack(t *testing.T) {
	last := Now()
	for range 10_000 {
		now := Now()
		require.GreaterOrEqual(t, now, last)
		last = now
	}
}

func TestTheClockRunsAsFastAsTheClockOfGo(t *testing.T) {
	before, begun := Now(), time.Now()
	time.Sleep(10 * time.Millisecond)
	inside := time.Since(begun)
	require.GreaterOrEqual(t, Now()-before, inside)
}
