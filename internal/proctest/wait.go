package proctest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience is when a test stops waiting. No result depends on how long something takes, so it can
// be long enough for a busy machine.
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

// Long reports whether LIFECYCLE_LONG requests the long form of a test. The make targets for
// sweeps, storms and models set it.
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

// Seeds returns the first and the last seed for the random walks of a test. The first is 1. The
// last is a fifth of the parameter some in "go test", some in CI, and many in the long form. If
// LIFECYCLE_SEED is set, both are its value.
func Seeds(t *testing.T, some, many uint64) (first, last uint64) {
	t.Helper()
	if given := os.Getenv("LIFECYCLE_SEED"); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
		return seed, seed
	}
	return 1, uint64(Rounds(int(max(some/5, 1)), int(some), int(many)))
}
