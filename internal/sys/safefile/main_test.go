package safefile

import (
	"errors"
	"os"
	"testing"
)

// TestMain gives root a directory for temporary files that only root can write, whatever TMPDIR
// contains. The tests rely on that.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("/tmp", "safefile-test-")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Setenv("TMPDIR", dir))
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}
