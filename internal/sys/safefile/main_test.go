package safefile

import (
	"testing"

	"example.com/lifecycle/internal/proctest"
)

// TestMain gives root a directory for temporary files that only root can write, even if TMPDIR
// names another directory.
func TestMain(m *testing.M) { proctest.Main(m, false) }
