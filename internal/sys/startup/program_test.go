package startup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// with sets the arguments, the directory and the environment of the start for one test.
func with(t *testing.T, name, dir string, env ...string) {
	t.Helper()
	oldArgs, oldDir, oldEnv, oldInterpreter := args, Dir(), environment, interpreter
	t.Cleanup(func() {
		args, environment, interpreter = oldArgs, oldEnv, oldInterpreter
		SetDir(oldDir)
	})
	args, environment, interpreter = []string{name}, env, nil
	SetDir(dir)
}

func TestProgramReturnsTheCalledProgram(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	link := filepath.Join(dir, "current")
	require.NoError(t, os.Symlink(self, link))
	other := filepath.Join(dir, "other")
	require.NoError(t, os.WriteFile(other, nil, 0o755))
	for what, tt := range map[string]struct{ name, path, want string }{
		"an absolute path":                 {link, "", link},
		"a path from the directory":        {"./current", "", link},
		"a name in PATH":                   {"current", "/nowhere:" + dir, link},
		"a name in a relative PATH":        {"current", ".", link},
		"a name that is nowhere":           {"current", "/nowhere", self},
		"a path of another program":        {other, "", self},
		"a name of another program":        {"other", dir, self},
		"a path that names no file":        {"./gone", "", self},
		"no name":                          {"", dir, self},
		"a name, and the directory has it": {"current", "", self},
	} {
		t.Run(what, func(t *testing.T) {
			with(t, tt.name, dir, "PATH="+tt.path)
			path, err := Program()
			require.NoError(t, err)
			require.Equal(t, tt.want, path)
		})
	}
}

func TestProgramReturnsTheProgramOfALoader(t *testing.T) {
	dir := t.TempDir()
	with(t, "./p", dir)
	interpreter = []string{"/lib/ld.so"}
	path, err := Program()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "p"), path)
}

func TestTheEnvironmentOfTheStart(t *testing.T) {
	with(t, "p", "/", "A=1", "LISTEN_FDS=2", "LISTEN_PID=3", "LISTEN=4", "B=")
	require.Equal(t, []string{"A=1", "LISTEN=4", "B="}, Environ("LISTEN_*"))
	require.Equal(t, []string{"LISTEN_FDS=2", "LISTEN_PID=3", "LISTEN=4", "B="}, Environ("A", "B*x"))
	require.Len(t, Environ(), 5)
	Environ()[0] = "changed"
	require.Equal(t, "A=1", Environ()[0])
}
