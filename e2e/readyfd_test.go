package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// withReadyFD launches cmd with the writing end of a pipe as descriptor 3. It returns the other
// end.
func withReadyFD(t *testing.T, cmd *exec.Cmd) (p *proctest.Process, r *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(cmd.Env, "READY_FD=3")
	p = proctest.Launch(t, cmd)
	require.NoError(t, w.Close())
	return p, r
}

// readAll returns all data until the last writer has closed the pipe.
func readAll(t *testing.T, r *os.File) string {
	t.Helper()
	require.NoError(t, r.SetReadDeadline(time.Now().Add(proctest.Patience)))
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(text)
}

func TestAReadinessDescriptorGetsOneNewlineAtReadyAndIsClosed(t *testing.T) {
	t.Parallel()
	goOn := filepath.Join(t.TempDir(), "go on")
	p, r := withReadyFD(t, proctest.Command(daemon, "pidfile="+proctest.PIDPath(t), "start=until:"+goOn, "run"))
	p.Await("OnStart")
	require.NoError(t, r.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err := r.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	proctest.Touch(t, goOn)
	require.Equal(t, "\n", readAll(t, r))
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	require.Zero(t, p.Out.Count("level=WARN"))
}

func TestAReadinessDescriptorIsClosedWithoutANewlineIfTheStartFails(t *testing.T) {
	t.Parallel()
	p, r := withReadyFD(t, proctest.Command(daemon, "pidfile="+proctest.PIDPath(t), "start=error", "run"))
	require.Empty(t, readAll(t, r))
	require.Equal(t, 1, p.Wait())
}

// A process with the descriptor could report the daemon as ready, and would keep the pipe open.
// Row E15.
func TestProgramsOfTheDaemonDoNotInheritTheReadinessDescriptor(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "linux", "sh")
	p, r := withReadyFD(t, proctest.Command(daemon, "pidfile="+proctest.PIDPath(t), "start=children", "run"))
	require.Equal(t, "\n", readAll(t, r))
	p.Await("msg=ready")
	require.Regexp(t, `(?m)^descriptors:.* 3\b`, p.Out.String(), "the descriptor of ls")
	require.NotRegexp(t, `(?m)^descriptors:.* 4\b`, p.Out.String(), "descriptor 3 was free")
	require.NotContains(t, p.Out.String(), "READY_FD")
}

// The descriptor belongs to the launcher. The daemon keeps no copy.
func TestAStartReportsReadyOnTheReadinessDescriptor(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	p, r := withReadyFD(t, proctest.Command(daemon, b.args("start")...))
	require.Equal(t, "\n", readAll(t, r), "the descriptor is closed while the daemon lives")
	require.Equal(t, 0, p.Wait())
	b.stop()

	p, r = withReadyFD(t, proctest.Command(daemon, append([]string{"start=error"}, b.args("start")...)...))
	require.Empty(t, readAll(t, r))
	require.Equal(t, 1, p.Wait())
}

func TestAnInvalidReadinessDescriptorIsAWarning(t *testing.T) {
	t.Parallel()
	reader, w, err := os.Pipe()
	require.NoError(t, err)
	defer reader.Close()
	defer w.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()
	for number, because := range map[string]string{
		"x": `\"x\" is not a number`, "-1": `\"-1\" is not a number`, " 3": `\" 3\" is not a number`, "99999999999": `\"99999999999\" is not a number`,
		"0": "is stdin, stdout or stderr", "2": "is stdin, stdout or stderr",
		"3": "descriptor 3 is not open for writing", "4": "descriptor 4 is not a pipe", "250": "descriptor 250: bad file descriptor",
	} {
		cmd := proctest.Command(daemon, "pidfile="+proctest.PIDPath(t), "run=:", "run")
		cmd.ExtraFiles = []*os.File{reader, file}
		cmd.Env = append(cmd.Env, "READY_FD="+number)
		p := proctest.Launch(t, cmd)
		require.Equal(t, 0, p.Wait())
		require.Equal(t, 1, p.Out.Count("level=WARN"), "%s", p.Out)
		require.Equal(t, 1, p.Out.Count(because), "%s", p.Out)
	}
}

func TestAnUnreadReadinessDescriptorDoesNotBlock(t *testing.T) {
	t.Parallel()
	for what, because := range map[string]string{"full": "the pipe is full", "gone": "broken pipe"} {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		if what == "gone" {
			require.NoError(t, r.Close())
		}
		require.NoError(t, w.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		for what == "full" && err == nil {
			_, err = w.Write(make([]byte, 4096))
		}
		require.True(t, err == nil || errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
		cmd := proctest.Command(daemon, "pidfile="+proctest.PIDPath(t), "run")
		cmd.ExtraFiles = []*os.File{w}
		cmd.Env = append(cmd.Env, "READY_FD=3")
		p := proctest.Launch(t, cmd)
		p.Await("msg=ready")
		require.Equal(t, 1, p.Out.Count(because), "%s", p.Out)
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
		require.NoError(t, w.Close())
		require.True(t, r.Close() == nil || what == "gone")
	}
}
