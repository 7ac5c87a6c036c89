package proctest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience is when a test gives up waiting. Nothing is ever right or wrong because it took long, so it is long enough for a machine that is busy.
const Patience = 60 * time.Second

// Eventually waits until condition returns true. The format and args say what the test waits for.
func Eventually(t *testing.T, condition func() bool, format string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for "+format, args...)
		}
	}
}

// Long reports whether the long form of the sweeps, storms and models was asked for, as their make targets do.
func Long() bool { return os.Getenv("LIFECYCLE_LONG") != "" }

// Seeds returns the seeds of the random walks of a test: 1 to some, 1 to many in the long form, or only the one that LIFECYCLE_SEED names.
func Seeds(t *testing.T, some, many uint64) (first, last uint64) {
	t.Helper()
	if given := os.Getenv("LIFECYCLE_SEED"); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
		return seed, seed
	}
	if Long() {
		return 1, many
	}
	return 1, some
}
