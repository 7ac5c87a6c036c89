package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// logPlaces lists kinds of directories for a log, below a directory of root. Root refuses some of
// them.
var logPlaces = map[string]struct {
	make func(t *testing.T, dir string) // the path of the log is daemon.log in dir
	why  string                         // "" if root accepts it; %s is the directory
}{
	"of root":                  {func(t *testing.T, dir string) {}, ""},
	"of a user":                {func(t *testing.T, dir string) { require.NoError(t, os.Chown(dir, service, service)) }, "the directory %s in the path belongs to user 12345"},
	"that everybody can write": {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o777)) }, "other users can write the directory %s in the path (mode 0777)"},
	"that a group can write": {func(t *testing.T, dir string) {
		require.NoError(t, errors.Join(os.Chown(dir, 0, service), os.Chmod(dir, 0o775)))
	}, "other users can write the directory %s in the path (mode 0775)"},
	"like /tmp":                  {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky)) }, ""},
	"through a link of root's":   {func(t *testing.T, dir string) { link(t, dir, 0) }, ""},
	"through a link of a user's": {func(t *testing.T, dir string) { link(t, dir, service) }, "the symbolic link %s in the path belongs to user 12345"},
	"with a log of the user's": {func(t *testing.T, dir string) {
		log := filepath.Join(dir, "daemon.log")
		require.NoError(t, errors.Join(os.WriteFile(log, nil, 0o640), os.Chown(log, service, service)))
	}, ""},
	"like /tmp, with a log that somebody has put there": {func(t *testing.T, dir string) {
		log := filepath.Join(dir, "daemon.log")
		require.NoError(t, errors.Join(os.Chmod(dir, 0o777|fs.ModeSticky), os.WriteFile(log, nil, 0o666), os.Chmod(log, 0o666), os.Chown(log, service, service)))
	}, "it belongs to user 12345, in a directory that others can write"},
}

// link replaces the directory with a symbolic link, owned by owner, to a directory of root.
func link(t *testing.T, dir string, owner int) {
	t.Helper()
	require.NoError(t, errors.Join(os.Rename(dir, dir+".precious"), os.Symlink(dir+".precious", dir), os.Lchown(dir, owner, owner)))
}

// below lists all files below a directory, with mode, owner and content.
func below(t *testing.T, dir string) (all []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		text, _ := os.ReadFile(path)
		all = append(all, fmt.Sprintf("%s %v %d %q", path, info.Mode(), info.Sys().(*syscall.Stat_t).Uid, text))
		return nil
	}))
	return all
}

// Rows K14, L5.
func TestRootLogsOnlyToPathsThatNoOtherUserCanRedirect(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	for name, place := range logPlaces {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, option := range []string{"log=", "errorlog="} {
				pidfile, dir := verbPlace(t), filepath.Join(t.TempDir(), "logs")
				require.NoError(t, os.Mkdir(dir, 0o755))
				place.make(t, dir)
				log := filepath.Join(dir, "daemon.log")
				before := below(t, filepath.Dir(dir))
				got := callVerb(t, pidfile, option+log, "start")
				if place.why == "" {
					require.Equal(t, 0, got.Code, got.Stderr)
					awaitLog(t, log, map[string]string{"log=": "OnStart done", "errorlog=": "msg=ready"}[option])
					require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
					require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
					continue
				}
				require.Equal(t, 1, got.Code)
				require.True(t, strings.HasPrefix(got.Stderr, "daemon: start failed: log file "+log+": "), got.Stderr)
				require.Contains(t, got.Stderr, strings.ReplaceAll(place.why, "%s", dir))
				if strings.Contains(place.why, "in the path") {
					require.Contains(t, got.Stderr, ": as root, put the log into a directory that only root can write (the file may belong to the user), or start as the user\n")
				}
				require.Equal(t, before, below(t, filepath.Dir(dir)))
				requireVerbLeftNothing(t, pidfile)
			}
		})
	}
}

// A reopen repeats all checks, because the directory may have changed since the start.
// Rows K14, L5.
func TestRootReopensNoLogThatAnotherUserCanRedirect(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	for name, place := range logPlaces {
		if place.why == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "logs")
			require.NoError(t, os.Mkdir(dir, 0o755))
			log := filepath.Join(dir, "daemon.log")
			pid, pidfile := verbStart(t, "log="+log)
			old := openForReading(t, log)
			require.NoError(t, os.Rename(log, log+".1"))
			place.make(t, dir)
			inIt := folder(t, dir)
			got := callVerb(t, pidfile, "reopen")
			require.Equal(t, 1, got.Code)
			require.Contains(t, got.Stderr, "daemon: reopen: log file "+log+": ")
			require.Contains(t, got.Stderr, strings.ReplaceAll(place.why, "%s", dir))
			require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
			proctest.Eventually(t, func() bool { return strings.Contains(logRead(t, old), "OnSignal done") }, "a word in the old log")
			require.Contains(t, logRead(t, old), "cannot reopen the log, so the daemon keeps writing to the old one")
			require.Equal(t, inIt, folder(t, dir), "no file was created")
			require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
		})
	}
}

// On Ubuntu, root owns /var/log, and the group syslog can write it.
// Row K14.
func TestAGroupThatMayWriteVarLogIsTrusted(t *testing.T) {
	needsMount(t)
	t.Parallel()
	for options, trusted := range map[string]bool{"mode=0775,gid=12345": true, "mode=0777,gid=12345": false, "mode=0775,uid=12345": false} {
		pidfile := verbPlace(t)
		unshare := []string{"unshare", "--mount", "sh", "-c", "mount -t tmpfs -o " + options + ` tmpfs /var/log && exec "$0" "$@"`}
		got := proctest.CallCommand(t, proctest.Wrapped(unshare, daemon, "pidfile="+pidfile, "log=/var/log/daemon.log", "start"))
		if !trusted {
			require.Equal(t, 1, got.Code)
			require.Contains(t, got.Stderr, "/var/log in the path")
			continue
		}
		require.Equal(t, 0, got.Code, got.Stderr)
		require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	}
}

// Row K14.
func TestAnOrdinaryUserMayLogAnywhere(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	dir := nobodys(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "shared"), 0o777))
	require.NoError(t, os.Chmod(filepath.Join(dir, "shared"), 0o777))
	require.NoError(t, os.Chown(filepath.Join(dir, "shared"), service, service))
	pidfile, log := filepath.Join(dir, "daemon.pid"), filepath.Join(dir, "shared", "daemon.log")
	binary := filepath.Join(dir, "program")
	require.NoError(t, os.Rename(copyOfTestBinary(t), binary))
	call := func(verb string) proctest.Result {
		cmd := proctest.Command(daemon, "pidfile="+pidfile, "log="+log, verb)
		cmd.Path = binary
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return proctest.CallCommand(t, cmd)
	}
	got := call("start")
	require.Equal(t, 0, got.Code, got.Stderr)
	require.Equal(t, 0, call("reopen").Code)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code, "sudo prog stop")
}

// As in CVE-2016-1247, root opens a user's log in a directory of that user.
// Row K14.
func TestRootFollowsNoLinkInADirectoryOfTheUser(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	const user = 54321
	for what, tt := range map[string]struct {
		prepare func(dir, log, precious string) error
		says    string
	}{
		"a link":      {func(_, log, precious string) error { return os.Symlink(precious, log) }, "it is a symbolic link, not a regular file"},
		"a hard link": {func(_, log, precious string) error { return os.Link(precious, log) }, "it has 2 hard links"},
		"a file of somebody else": {func(_, log, _ string) error {
			return errors.Join(os.WriteFile(log, nil, 0o600), os.Chown(log, 12345, 12345))
		}, "it belongs to user 12345, and user 54321, the owner of the directory, cannot write it"},
		"a file of root's": {
			func(_, log, _ string) error { return os.WriteFile(log, nil, 0o600) },
			"it belongs to user 0, and user 54321, the owner of the directory, cannot write it",
		},
		"a file of root's group": {func(_, log, _ string) error {
			return errors.Join(os.WriteFile(log, nil, 0o660), os.Chmod(log, 0o660))
		}, "it belongs to user 0, and user 54321, the owner of the directory, cannot write it"},
		"a directory below that one": {func(dir, log, _ string) error {
			return errors.Join(os.Rename(dir, dir+"2"), os.Mkdir(dir, 0o755), os.Chown(dir, user, user), os.Rename(dir+"2", filepath.Dir(log)))
		}, "the directory .* in the path belongs to user 54321"},
		"a link to that one": {func(dir, _, _ string) error {
			return errors.Join(os.Rename(dir, dir+"2"), os.Symlink(dir+"2", dir), os.Lchown(dir, user, user))
		}, "the symbolic link .* in the path belongs to user 54321"},
		"that everybody can write": {func(dir, _, _ string) error { return os.Chmod(dir, 0o777) }, "the directory .* in the path belongs to user 54321"},
		"of another user":          {func(dir, _, _ string) error { return os.Chown(dir, 12345, 12345) }, "the directory .* in the path belongs to user 12345"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			dir, precious := t.TempDir(), rootsKey(t)
			require.NoError(t, os.Chown(dir, user, user))
			b.log = filepath.Join(dir, "daemon.log")
			if what == "a directory below that one" {
				b.log = filepath.Join(dir, "below", "daemon.log")
			}
			require.NoError(t, tt.prepare(dir, b.log, precious))
			got := b.callServant("user=54321:54321", "start")
			require.Equal(t, 1, got.Code, "%s", got.Stderr)
			require.Regexp(t, regexp.QuoteMeta("servant: start failed: log file "+b.log)+": .*"+tt.says, got.Stderr)
			proctest.RequireText(t, precious, "")
			requireOwner(t, precious, 0)
			b.requireNothingLeft()
		})
	}
}
