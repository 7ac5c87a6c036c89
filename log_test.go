package lifecycle

import (
	"path/filepath"
	"testing"
)

// logPlace is a place for a log.
func logPlace(t *testing.T) (log string) {
	t.Helper()
	return filepath.Join(t.TempDir(), "daemon.log")
}
