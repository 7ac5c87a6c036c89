package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVerbsTellTheTruthAboutARunningDaemon(t *testing.T) {
	p, pidfile := startDaemon(t)
	verb := func(name ...string) result {
		return callProgram(t, daemon, append([]string{"pidfile=" + pidfile}, name...)...)
	}

	requireReady(t, p.pid(), verb("status"))

	second := verb("run")
	require.Equal(t, 1, second.code)
	require.Contains(t, second.stderr, fmt.Sprintf("daemon: already running (pid %d)\n", p.pid()))

	reloaded := verb("reload")
	require.Equal(t, 0, reloaded.code)
	require.Regexp(t, `^daemon: reloaded \(\d+ ms\)\n$`, reloaded.stderr)
	p.await("msg=reloaded")

	stopped := verb("stop")
	require.Equal(t, 0, stopped.code)
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, \d+ ms\)\n$`, p.pid()), stopped.stderr)
	require.Equal(t, 0, p.wait())
	require.NoFileExists(t, pidfile)

	require.Equal(t, result{"daemon: not running (nobody holds " + pidfile + ")\n", "", 3}, verb("status"))
}

func TestStatusTellsOfADeadDaemon(t *testing.T) {
	p, pidfile := startDaemon(t)
	p.signal(syscall.SIGKILL)
	p.wait()
	got := callProgram(t, daemon, "pidfile="+pidfile, "status")
	require.Equal(t, 1, got.code)
	require.Regexp(t, fmt.Sprintf(`^daemon: dead: pid %d left %s, was ready \d+s ago\n$`, p.pid(), pidfile), got.stdout)
	require.FileExists(t, pidfile, "looking never deletes")

	next := start(t, daemon, "pidfile="+pidfile)
	next.await("msg=ready")
	number, err := os.ReadFile(pidfile)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%d\n", next.pid()), string(number))
}

func TestTheUsageSaysWhatEveryVerbDoesInTwoColumns(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSuffix(callProgram(t, verbless).stderr, "\n"), "\n")[2:]
	for _, v := range verbs() {
		for _, does := range append([]verbFlag{{"", v.does}}, v.flags...) {
			require.NotEmpty(t, lines)
			require.Equal(t, strings.TrimSpace(v.name+" "+does.name), strings.TrimSpace(lines[0][:18]))
			require.Equal(t, does.does, lines[0][18:])
			require.LessOrEqual(t, len(lines[0]), 79)
			lines = lines[1:]
		}
	}
	require.Empty(t, lines)
}

func TestAVerbThatMayNotSignalSaysWhichSignalToWhom(t *testing.T) {
	t.Parallel()
	needs(t, "root", "setpriv")
	p, pidfile := startDaemon(t)
	for _, dir := range []string{filepath.Dir(pidfile), filepath.Dir(filepath.Dir(pidfile))} {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	for verb, sig := range map[string]string{"stop": "SIGTERM", "reload": "SIGHUP", "reopen": "SIGUSR1"} {
		got := runCommand(t, wrapped([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, daemon, "pidfile="+pidfile, verb))
		require.Equal(t, result{"", fmt.Sprintf("daemon: %s: cannot send %s to pid %d: operation not permitted\n", verb, sig, p.pid()), 4}, got)
	}
}
