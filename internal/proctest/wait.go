package proctest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience is when a test stops waiting. It is long enough for a busy machine, because no result
// depends on how long something takes.
const Patience = 60 * time.Second

// Eventually waits until condition returns true. format and args describe the condition.
func Eventually(t *testing.T, condition func() bool, format string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for "+format, args...)
		}
	}
}

// Long reports whether the long form of sweeps, storms and models was requested, as their make
// targets do.
func Long() bool { return Rounds(0, 0, 1) == 1 }

// Rounds returns how often a test repeats something slow: short in "go test", ci in CI
// (LIFECYCLE_LONG is "ci"), and long for any other value of LIFECYCLE_LONG.
func Rounds(short, ci, long int) int {
	switch os.Getenv("LIFECYCLE_LONG") {
	case "":
		return short
	case "ci":
		return ci
	}
	return long
}

// Seeds returns the seeds for the random walks of a test: 1 to some in CI, a fifth of that in "go
// test", 1 to many in the long form, or only the seed in LIFECYCLE_SEED.
func Seeds(t *testing.T, some, many uint64) (first, last uint64) {
	t.Helper()
	if given := os.Getenv("LIFECYCLE_SEED"); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
		return seed, seed
	}
	return 1, uint64(Rounds(int(max(some/5, 1)), int(some), int(many)))
}
