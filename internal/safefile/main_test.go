package safefile

import (
	"errors"
	"os"
	"testing"
)

// TestMain gives root a place for temporary files that is root's alone to write, whatever TMPDIR says: the tests build upon that.
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
