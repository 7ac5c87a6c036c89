package lifecycle

import (
	"go/build"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const modulePath = "example.com/lifecycle"

// layers are the packages below the root that hold a part of its work. Each may import the packages
// of the layers above it in this list, and those that no layer has: the ones for system mechanisms.
var layers = [][]string{
	{"console", "fdstore", "logfile", "pidfile", "statefile"},
	{"handshake"},
	{"supervise"},
}

// The import order is a property of the real import graph, on every platform.
func TestImportsGoInOneDirection(t *testing.T) {
	layerOf := map[string]int{}
	for i, names := range layers {
		for _, name := range names {
			layerOf[name] = i + 1
		}
	}
	dirs, err := filepath.Glob("internal/*")
	require.NoError(t, err)
	for _, dir := range dirs {
		name := filepath.Base(dir)
		for _, imported := range importsOf(t, dir) {
			if imported == modulePath {
				t.Errorf("internal/%s imports the root package", name)
			}
			of, inside := strings.CutPrefix(imported, modulePath+"/internal/")
			if inside && layerOf[of] > 0 && layerOf[of] >= layerOf[name] {
				t.Errorf("internal/%s imports internal/%s, which is not below it", name, of)
			}
		}
	}
	for name := range layerOf {
		require.Contains(t, dirs, filepath.Join("internal", name))
	}
}

// importsOf returns what the code of that folder imports on any of the platforms. Tests are left
// out.
func importsOf(t *testing.T, dir string) (imports []string) {
	t.Helper()
	for _, goos := range []string{"linux", "darwin", "freebsd", "netbsd", "windows"} {
		context := build.Default
		context.GOOS, context.CgoEnabled = goos, false
		p, err := context.ImportDir(dir, 0)
		require.NoError(t, err, "%s on %s", dir, goos)
		imports = append(imports, p.Imports...)
	}
	slices.Sort(imports)
	return slices.Compact(imports)
}
