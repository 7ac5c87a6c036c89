//go:build unix

package safefile

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGuardedProgramAcceptsOnlyProgramsThatOnlyRootCanChange(t *testing.T) {
	needRoot(t)
	tr := newTree(t)
	tr.dir("bin", 0o755, 0, 0)
	tr.dir("theirs", 0o755, service, service)
	tr.dir("sticky", 0o777|os.ModeSticky, 0, 0)
	program := func(name string, mode os.FileMode, uid, gid int) {
		require.NoError(t, os.WriteFile(tr.at(name), nil, 0o755))
		require.NoError(t, os.Chown(tr.at(name), uid, gid))
		require.NoError(t, os.Chmod(tr.at(name), mode))
	}
	program("bin/fine", 0o755, 0, 0)
	program("bin/group", 0o775, 0, 0)
	program("bin/staff", 0o775, 0, service)
	program("bin/open", 0o757, 0, 0)
	program("bin/given", 0o755, service, 0)
	program("theirs/root", 0o755, 0, 0)
	program("sticky/root", 0o755, 0, 0)
	program("sticky/left", 0o755, stranger, stranger)
	tr.link("bin/link", "fine", 0)
	tr.link("bin/astray", "../theirs/root", 0)
	tr.link("bin/absolute", tr.at("sticky/left"), 0)
	tr.link("sticky/link", tr.at("bin/fine"), stranger)
	tr.link("bin/loop", "loop", 0)
	for name, want := range map[string]string{
		"bin/fine": "", "bin/group": "", "bin/link": "", "sticky/root": "",
		"bin/staff":    "other users can write it (mode 0775)",
		"bin/open":     "other users can write it (mode 0757)",
		"bin/given":    "it belongs to user 12345",
		"theirs/root":  "the directory " + tr.at("theirs") + " in the path belongs to user 12345",
		"bin/astray":   "the directory " + tr.at("theirs") + " in the path belongs to user 12345",
		"sticky/left":  "it belongs to user 54321",
		"bin/absolute": "it belongs to user 54321",
		"sticky/link":  "it belongs to user 54321",
		"bin/loop":     "too many levels of symbolic links",
		"bin/nothing":  "no such file or directory",
	} {
		if err := GuardedProgram(tr.at(name)); want == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, want, name)
		}
	}
}
