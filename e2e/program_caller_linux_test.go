package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// These tests check which PATH and environment a program inherits from the caller of its
// supervisor.

// inPATH runs guard with a PATH that begins with dir. The program is a name or a path.
func (b *background) inPATH(dir, program, at string) proctest.Result {
	b.t.Helper()
	cmd := proctest.Command(guard, append(b.args("start"), "--", program)...)
	cmd.Env = append(cmd.Env, "PATH="+dir+":/usr/bin:/bin")
	cmd.Dir = at
	return proctest.CallCommand(b.t, cmd)
}

// Row L17.
func TestRootUsesNoPATHThatOtherUsersCanWrite(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	script := func(mode os.FileMode, uid int) {
		path := filepath.Join(dir, "sleeps")
		_ = os.Remove(path)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\nexec sleep 60\n"), 0o755))
		require.NoError(t, os.Chmod(path, mode))
		require.NoError(t, os.Chown(path, uid, 0))
	}
	chown := func(uid int) { require.NoError(t, os.Chown(dir, uid, 0)) }
	for what, tt := range map[string]struct {
		prepare func()
		path    string
		want    string
	}{
		"a directory of another user": {func() { script(0o755, 0); chown(12345) }, dir, "belongs to user 12345"},
		"a file of another user":      {func() { script(0o755, 12345) }, dir, "it belongs to user 12345"},
		"a file for all to write":     {func() { script(0o777, 0) }, dir, "other users can write it (mode 0777)"},
		"a relative directory":        {func() { script(0o755, 0) }, ".", "relative to current directory"},
		"an empty entry":              {func() { script(0o755, 0) }, "", "relative to current directory"},
	} {
		chown(0)
		tt.prepare()
		b := inBackground(t)
		got := b.inPATH(tt.path, "sleeps", dir)
		require.Equal(t, 1, got.Code, what)
		require.Contains(t, got.Stderr, tt.want, what)
		require.Contains(t, got.Stderr, "program sleeps: ", what)
		b.requireNothingLeft()
	}

	chown(0)
	script(0o755, 0)
	b := inBackground(t)
	b.readied(b.inPATH(dir, "sleeps", dir))
	b.stop()

	chown(12345)
	b = inBackground(t)
	// Root accepts a path, because the author of the command has chosen it.
	b.readied(b.inPATH(dir, filepath.Join(dir, "sleeps"), dir))
	b.stop()
}

// session lists variables that a login of root may have in its environment.
var session = []string{
	"SUDO_USER=me", "SUDO_COMMAND=x", "SSH_AUTH_SOCK=/tmp/agent", "SSH_AGENT_PID=1", "SSH_CONNECTION=a", "DBUS_SESSION_BUS_ADDRESS=unix:path=/x",
	"XDG_RUNTIME_DIR=/run/user/0", "XDG_SESSION_ID=1", "XAUTHORITY=/root/.Xauthority", "MAIL=/var/mail/root", "DOAS_USER=me", "PKEXEC_UID=1000",
	"GPG_AGENT_INFO=x", "SHELL=/bin/root", "HOME=/root", "USER=root", "LOGNAME=root",
}

const stays = "XDG_CONFIG_HOME=/etc/config"

// Row L17.
func TestAWorkerOfAnotherUserGetsNoVariablesOfRootsSession(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	for what, program := range map[string]bool{"supervised program": true, "worker of this binary": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			cmd := proctest.Command(guard, append(b.args("user=daemon", "start"), "--", "sh", "-c", "env; echo said; exec sleep 60")...)
			if !program {
				cmd = proctest.Command(daemon, b.args("supervise=", "user=daemon", "ready=env", "start")...)
			}
			cmd.Env = slices.Concat(cmd.Env, session, []string{stays})
			b.readied(proctest.CallCommand(t, cmd))
			b.awaitSaid("said\n")
			got := strings.Split(b.said(), "\n")
			require.Contains(t, got, stays)
			require.Contains(t, got, "USER=daemon")
			require.Contains(t, got, "SHELL=/usr/sbin/nologin")
			for _, variable := range session {
				require.NotContains(t, got, variable)
				if name, _, _ := strings.Cut(variable, "="); !slices.Contains([]string{"SHELL", "HOME", "USER", "LOGNAME"}, name) {
					require.NotContains(t, b.said(), "\n"+name+"=")
				}
			}
			b.stop()
		})
	}
}

func TestAWorkerOfTheSameUserKeepsTheVariablesOfTheSession(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	cmd := proctest.Command(guard, append(b.args("start"), "--", "sh", "-c", "env; echo said; exec sleep 60")...)
	cmd.Env = slices.Concat(cmd.Env, session)
	b.readied(proctest.CallCommand(t, cmd))
	b.awaitSaid("said\n")
	for _, variable := range session {
		require.Contains(t, strings.Split(b.said(), "\n"), variable)
	}
	b.stop()
}

func init() {
	misdeeds["env"] = func() {
		_, _ = os.Stdout.WriteString("\n" + strings.Join(os.Environ(), "\n") + "\nsaid\n")
	}
}
