package lifecycle

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func logOpened(t *testing.T, pid, fd int) string {
	t.Helper()
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	require.NoError(t, err)
	return path
}
