package lifecycle

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	nobody            = 65534
	namespaceVariable = "LIFECYCLE_TEST_NAMESPACE"
)

// nobodys is a directory that nobody owns, on a way that everybody can go.
func nobodys(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chown(dir, nobody, nobody))
	return dir
}
