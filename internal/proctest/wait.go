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
func Long() bool { return Rounds(0, 0, 1) == 1 }

// Rounds returns how often a test is to repeat something that takes long: short in "go test", in CI, where LIFECYCLE_LONG is "ci", ci, and in the
// long form, for any other value of it, long.
func Rounds(short, ci, long int) int {
	switch os.Getenv("LIFECYCLE_LONG") {
	case "":
		return short
	case "ci":
		return ci
	}
	return long
}

// Seeds returns the seeds of the random walks of a test: 1 to some in CI, a fifth of them in "go test", many in the long form, or only the one that LIFECYCLE_SEED names.
func Seeds(t *testing.T, some, many uint64) (first, last uint64) {
	t.Helper()
	if given := os.Getenv("LIFECYCLE_SEED"); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
		return seed, seed
	}
	return 1, uint64(Rounds(int(max(some/5, 1)), int(some), int(many)))
}
