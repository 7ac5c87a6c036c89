package proctest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// OwnName returns a name that no other test and no other run uses, because all daemons of a user
// share the default paths.
func OwnName(of string) string { return fmt.Sprintf("lifecycle-test-%s-%d", of, os.Getpid()) }

// PIDPath returns a path for a PID file that no other test uses.
func PIDPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "daemon.pid")
}

// StatePath returns the path of the state file for a PID file (docs/pidfile.md).
func StatePath(pidfile string) string {
	return strings.TrimSuffix(pidfile, ".pid") + ".state"
}

// Touch creates a file, or empties it.
func Touch(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, nil, 0o644))
}

// RequireText requires that the file contains exactly this text.
func RequireText(t *testing.T, path, want string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(text))
}
