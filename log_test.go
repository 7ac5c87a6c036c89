package lifecycle

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// logPlace is a place for a log.
func logPlace(t *testing.T) (log string) {
	t.Helper()
	return filepath.Join(t.TempDir(), "daemon.log")
}

func logText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}
