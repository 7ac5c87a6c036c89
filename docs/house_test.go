package docs

import (
	"errors"
	"go/build"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const modulePath = "example.com/lifecycle"

// systemLayer lists the packages for system mechanisms. They may import each other.
var systemLayer = []string{
	"activation", "bytetext", "cgroup", "ctlsock", "detach", "execve", "filelock", "journal", "keeper", "memfile", "monotonic",
	"openfile", "origin", "ossignal", "pin",
	"privilege", "proc", "procattr", "rawconn", "readyfd", "reaper", "safefile", "sdnotify",
	"secureenv", "startup", "statedir", "takeover", "terminal", "userdb", "worker",
}

// upperLayers lists the layers above systemLayer, lowest first. A package may import packages of
// lower layers, but none of its own layer.
var upperLayers = [][]string{
	{"internal/cmdline", "internal/console", "internal/engine", "internal/fdstore", "internal/handoff", "internal/logfile", "internal/logrole", "internal/pidfile", "internal/stacktrace", "internal/statefile"},
	{"internal/handshake"},
	{"internal/supervise"},
	{"."},
	{"lifecycletest", "socket"},
	{"serve"},
	{"bench", "bench/table", "conformance", "conformance/subject", "conformance/upgradable", "docs", "e2e", "internal/proctest", "internal/proctest/pagetest"},
}

// The test checks the real import graph of every platform.
func TestImportsGoInOneDirection(t *testing.T) {
	t.Parallel()
	layerOf := map[string]int{}
	for _, name := range systemLayer {
		layerOf[path.Join("internal", "sys", name)] = 0
	}
	for i, names := range upperLayers {
		for _, name := range names {
			require.NotContains(t, layerOf, name)
			layerOf[name] = i + 1
		}
	}
	packages := packagesOfTheModule(t)
	for _, name := range packages {
		layer, found := layerOf[name]
		if !found {
			t.Errorf("package %s is in no layer: it belongs in one of house_test.go", name)
			continue
		}
		for _, imported := range importsOf(t, name) {
			if below, found := layerOf[imported]; !found || below > layer || below == layer && layer > 0 {
				t.Errorf("package %s imports %s, which is not below it", name, imported)
			}
		}
	}
	for name := range layerOf {
		require.Contains(t, packages, name, "a layer names this package")
	}
}

// packagesOfTheModule returns the directories that are packages.
func packagesOfTheModule(t *testing.T) (folders []string) {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "./...").Output()
	require.NoError(t, err)
	for _, name := range strings.Fields(string(out)) {
		folders = append(folders, folderOf(name))
	}
	return folders
}

func folderOf(importPath string) string {
	return path.Clean(strings.TrimPrefix(strings.TrimPrefix(importPath, modulePath), "/"))
}

// importsOf returns the packages of the module that the code of a directory imports on any of the
// platforms. Tests are not included.
func importsOf(t *testing.T, folder string) (imports []string) {
	t.Helper()
	for _, goos := range []string{"linux", "darwin", "freebsd", "netbsd", "windows"} {
		context := build.Default
		context.GOOS, context.CgoEnabled = goos, false
		p, err := context.ImportDir(folder, 0)
		var none *build.NoGoError
		if !errors.As(err, &none) {
			require.NoError(t, err, "%s on %s", folder, goos)
		}
		for _, imported := range p.Imports {
			if imported == modulePath || strings.HasPrefix(imported, modulePath+"/") {
				imports = append(imports, folderOf(imported))
			}
		}
	}
	slices.Sort(imports)
	return slices.Compact(imports)
}

// With package net, every program with cgo is dynamically linked, and each start takes longer.
func TestADaemonWithoutANetworkDoesNotLinkPackageNet(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	packages := strings.Fields(string(out))
	require.Contains(t, packages, "example.com/lifecycle")
	require.NotContains(t, packages, "net")
	require.NotContains(t, packages, "os/user")
	require.NotContains(t, packages, "runtime/cgo")
}
