package safefile

import (
	"testing"

	"example.com/lifecycle/internal/proctest"
)

// TestMain gives root a directory for temporary files that only root can write, whatever TMPDIR
// contains.
func TestMain(m *testing.M) { proctest.Main(m, false) }
