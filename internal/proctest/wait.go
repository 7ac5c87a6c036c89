package proctest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience is how long a test waits before it fails. It can be long enough for a busy machine,
// because no result depends on how long an operation takes.
const Patience = 60 * time.Second

// Eventually waits until condition returns true. format and args describe the condition. The
// intervals between the calls grow, because calls use CPU time.
func Eventually(t *testing.T, condition func() bool, format string, args ...any) {
	t.Helper()
	began := time.Now()
	for !condition() {
		waited := time.Since(began)
		if waited > Patience {
			t.Fatalf("timed out waiting for "+format, args...)
		}
		time.Sleep(min(max(waited/8, time.Millisecond), 20*time.Millisecond))
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

// Few returns all elements in CI and in the long form. In "go test", it returns n of them, spread
// evenly.
func Few[T any](n int, all []T) (few []T) {
	if n = Rounds(n, len(all), len(all)); n >= len(all) {
		return all
	}
	for i := range n {
		few = append(few, all[(len(all)-1)*(i+1)/(n+1)])
	}
	return few
}

// Seeds returns the first and the last seed for the random walks of a test. The first is 1. The
// last is inCI/5 in "go test", inCI in CI, and inLong in the long form. If LIFECYCLE_SEED is set,
// both are its value.
func Seeds(t *testing.T, inCI, inLong uint64) (first, last uint64) {
	t.Helper()
	if given := os.Getenv("LIFECYCLE_SEED"); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
		return seed, seed
	}
	return 1, uint64(Rounds(int(max(inCI/5, 1)), int(inCI), int(inLong)))
}
