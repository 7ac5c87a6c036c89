package e2e

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// replaceProgram makes a release whose program is another file, which write makes.
func (r *releases) replaceProgram(version string, write func(path string)) {
	r.t.Helper()
	dir := filepath.Join(r.dir, version)
	require.NoError(r.t, os.Mkdir(dir, 0o755))
	write(filepath.Join(dir, "program"))
	r.flip(version)
}

// requireRefused requires that the verb reports a refusal of the new program for that reason. It
// also requires that the daemon has not changed. The reason is a regular expression; PATH in it is
// the path of the program.
func (r *releases) requireRefused(pid, worker int, why string) {
	r.t.Helper()
	why = strings.ReplaceAll(why, "PATH", regexp.QuoteMeta(filepath.Join(r.dir, "current", "program")))
	got := r.upgrade()
	require.Regexp(r.t, `(?s)^daemon: upgrade refused, the old one serves: `+why+`\n$`, got.Stderr)
	require.Equal(r.t, 1, got.Code)
	s := r.ready()
	require.Equal(r.t, pid, s.PID)
	require.Equal(r.t, worker, s.Worker)
	require.Equal(r.t, "1.0", s.WorkerVersion)
	require.Zero(r.t, s.Restarts)
	require.Nil(r.t, s.LastExit)
	require.Zero(r.t, s.Upgrading)
	require.Empty(r.t, s.Draining)
	require.NotEmpty(r.t, s.LastUpgrade.Error)
	require.Regexp(r.t, `(?m)^  last upgrade refused \ds ago: `+why+`$`, r.call("status").Stdout)
	r.requireProgram(pid, "1.0")
	r.requireProgram(worker, "1.0")
	proctest.Eventually(r.t, func() bool { return len(r.processes()) == 2 }, "the processes of the new program to end")
	require.Equal(r.t, 0, r.call("reload").Code, "%s", r.said())
}

// Row K16.
func TestAProgramThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	s := r.begin()
	files := map[string]struct {
		write func(path string)
		why   string
	}{
		"missing":     {func(string) {}, `stat PATH: no such file or directory`},
		"a directory": {func(path string) { require.NoError(t, os.Mkdir(path, 0o755)) }, `exec PATH: is a directory`},
		"not executable": {
			func(path string) { require.NoError(t, os.WriteFile(path, []byte("\x7fELF"), 0o644)) },
			`exec PATH: permission denied`,
		},
		"text":                 {func(path string) { require.NoError(t, os.WriteFile(path, []byte("hello\n"), 0o755)) }, `exec PATH: it is not a program: exec format error`},
		"empty":                {func(path string) { require.NoError(t, os.WriteFile(path, nil, 0o755)) }, `exec PATH: the file is empty`},
		"a script":             {func(path string) { require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755)) }, `exec PATH: it is a script, not a program with this library`},
		"another architecture": {func(path string) { writeForeignELF(t, path) }, `exec PATH: it was built for another architecture \(ELF machine \d+\): exec format error`},
	}
	for what, file := range files {
		t.Run(what, func(t *testing.T) {
			r.replaceProgram(strings.ReplaceAll(what, " ", "-"), file.write)
			r.requireRefused(s.PID, s.Worker, file.why)
		})
	}
	r.stop()
}

// writeForeignELF writes a copy of this program whose header names another architecture.
func writeForeignELF(t *testing.T, path string) {
	t.Helper()
	self, err := os.Open(proctest.Binary())
	require.NoError(t, err)
	defer self.Close()
	head := make([]byte, 4096)
	_, err = self.Read(head)
	require.NoError(t, err)
	machine := uint16(183) // EM_AARCH64
	if runtime.GOARCH == "arm64" {
		machine = 62 // EM_X86_64
	}
	binary.NativeEndian.PutUint16(head[18:], machine)
	require.NoError(t, os.WriteFile(path, head, 0o755))
}

// Row K16.
func TestAProgramThatDoesNotGetReadyIsRefused(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct{ does, why string }{
		"dies in init":      {"init=exit:5", `died before it was ready \(exit 5\)(; its last words:.*)?`},
		"dies in main":      {"main=exit:4", `died before it was ready \(exit 4\)(; its last words:.*)?`},
		"dies in OnStart":   {"start=exit:3", `died before it was ready \(exit 3\)(; its last words:.*)?`},
		"fails in OnStart":  {"start=error", `OnStart failed on purpose`},
		"panics in OnStart": {"start=panic", `panic: OnStart panics on purpose`},
		"hangs in main":     {"main=hang", `not ready after 3s.*`},
		"hangs in OnStart":  {"start=hang", `OnStart .*did not return in 3s.*`},
		"its fn ends":       {"run=error", `fn failed on purpose`},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := deployed(t)
			r.crashes = true
			s := r.begin("starttimeout=3s")
			r.install("2.0", tt.does)
			r.requireRefused(s.PID, s.Worker, tt.why)
			r.install("3.0")
			r.upgraded(s, "3.0")
			r.stop()
		})
	}
}

func TestAProgramThatCannotBeTheSupervisorIsRefused(t *testing.T) {
	t.Parallel()
	other := proctest.PIDPath(t)
	for what, tt := range map[string]struct{ does, why string }{
		"another PID file":  {"pidfile=" + other, `the supervisor uses the PID file ".*", but its worker uses "` + other + `": pass both the same PID file`},
		"without Supervise": {"nosupervise", `a supervisor has started this program as its worker, but the program does not use Supervise: use the verb restart to change that`},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := deployed(t)
			s := r.begin()
			r.install("2.0", tt.does)
			r.requireRefused(s.PID, s.Worker, tt.why)
			r.stop()
		})
	}
}

// Row K16.
func TestAProgramWithoutTheLibraryIsRefused(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct{ code, why string }{
		"ends": {`package main; func main() {}`, `died before it was ready.*library.*`},
		"runs": {`package main; import "time"; func main() { time.Sleep(time.Hour) }`, `not ready after 3s.*library.*`},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := deployed(t)
			s := r.begin("starttimeout=3s")
			r.replaceProgram("2.0", func(path string) {
				source := filepath.Join(t.TempDir(), "main.go")
				require.NoError(t, os.WriteFile(source, []byte(tt.code), 0o644))
				out, err := exec.Command("go", "build", "-o", path, source).CombinedOutput()
				require.NoError(t, err, "%s", out)
			})
			r.requireRefused(s.PID, s.Worker, tt.why)
			r.stop()
		})
	}
}

// The new worker becomes ready. It dies before it has replaced the old worker, or right after that.
func TestAProgramThatDiesWhenItIsReady(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	s := r.begin()
	r.install("2.0", "run=exit:6")
	r.requireRefused(s.PID, s.Worker, `(the new worker ended right after it was ready: |died before it was ready \().*exit 6.*`)
	r.stop()
}
