package lifecycle

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEnsureUnderGoTestSaysThatItCannot(t *testing.T) {
	t.Parallel()
	pidfile := pidPath(t)
	_, err := Ensure(t.Context(), PIDFile(pidfile))
	require.EqualError(t, err, "lifecycle: start: "+errUnderTest)
	requireNothingLeft(t, pidfile)
}
