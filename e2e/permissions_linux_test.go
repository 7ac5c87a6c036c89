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

// Row L14.
func TestNoOtherUserCanWriteTheFilesOfALifeWithAnyUmask(t *testing.T) {
	t.Parallel()
	for _, umask := range []string{"0", "0777"} {
		t.Run(umask, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(root, "d"), 0o755))
			pidfile, log, errs := filepath.Join(root, "d", "daemon.pid"), filepath.Join(root, "d", "daemon.log"), filepath.Join(root, "d", "daemon.err")
			seen := map[string]fs.FileMode{}
			look := func() {
				t.Helper()
				require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
					info, statErr := os.Lstat(path)
					if err = errors.Join(err, statErr); err == nil {
						seen[filepath.Base(path)] = info.Mode()
						require.Zero(t, info.Mode()&0o022, "%s %v", path, info.Mode())
					}
					return err
				}))
			}
			call := func(args ...string) proctest.Result {
				sh := []string{"sh", "-c", "umask " + umask + `; exec "$0" "$@"`}
				return proctest.CallCommand(t, proctest.Wrapped(sh, daemon, append([]string{"pidfile=" + pidfile, "log=" + log, "errorlog=" + errs}, args...)...))
			}
			require.Equal(t, 0, call("umask="+umask, "start").Code)
			t.Cleanup(func() { call("stop") })
			look()
			require.Equal(t, 0, call("reload").Code)
			look()
			require.NoError(t, os.Rename(log, log+".1"))
			require.NoError(t, os.Rename(errs, errs+".1"))
			require.Equal(t, 0, call("reopen").Code)
			look()
			p := mustFind(t, pidfile)
			require.NoError(t, p.Kill(t.Context()))
			look()
			require.Equal(t, 0, call("umask="+umask, "restart").Code)
			look()
			require.Equal(t, 0, call("stop").Code)
			look()
			delete(seen, filepath.Base(root))
			require.Equal(t, map[string]fs.FileMode{
				"d": fs.ModeDir | 0o755, "daemon.pid": 0o644, "daemon.state": 0o644,
				"daemon.log": 0o640, "daemon.err": 0o640, "daemon.log.1": 0o640, "daemon.err.1": 0o640,
			}, seen)
		})
	}
}

// Row L14.
func TestOnlyItsUserCanUseTheDefaultDirectoryWithAnyUmask(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	binary := filepath.Join(nobodys(t), "program")
	require.NoError(t, os.Rename(copyOfTestBinary(t), binary))
	for _, umask := range []string{"0", "0777"} {
		name := proctest.OwnName("umask" + umask)
		dir := fmt.Sprintf("/tmp/%s-%d", name, service) // for a user without a database entry
		t.Cleanup(func() { os.RemoveAll(dir) })
		call := func(verb string) proctest.Result {
			cmd := proctest.Wrapped([]string{"sh", "-c", "umask " + umask + `; exec "$@"`, "sh"}, defaulted, name, verb)
			cmd.Args[len(cmd.Args)-3] = binary
			proctest.Use(defaulted)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
			cmd.Dir = "/"
			return proctest.CallCommand(t, cmd)
		}
		got := call("start")
		require.Equal(t, 0, got.Code, "umask %s: %s", umask, got.Stderr)
		t.Cleanup(func() { call("stop") })
		require.Equal(t, fs.ModeDir|0o700, logPerm(t, dir))
		for file, mode := range map[string]fs.FileMode{".pid": 0o644, ".state": 0o644, ".log": 0o640} {
			require.Equal(t, mode, logPerm(t, filepath.Join(dir, name+file)))
		}
		require.Equal(t, 0, call("stop").Code)
	}
}

// A life opens files without following a link at the end of the path and without blocking. It
// changes an open file only through its descriptor.
// Row L5.
func TestNoFileIsOpenedThroughALinkOrChangedByItsPath(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	dir, traces := t.TempDir(), t.TempDir()
	pidfile, log := filepath.Join(dir, "daemon.pid"), filepath.Join(dir, "daemon.log")
	// The output goes to a file. strace also traces the daemon and outlives the verb. It would keep a
	// pipe open, and the wait for the verb would not end.
	said, err := os.Create(filepath.Join(traces, "said"))
	require.NoError(t, err)
	defer said.Close()
	traced := func(verb string) {
		t.Helper()
		strace := []string{"strace", "-D", "-ff", "-I1", "-o", filepath.Join(traces, verb), "-e", "trace=%file,fchmod,fchown"}
		cmd := proctest.Wrapped(strace, daemon, "pidfile="+pidfile, "log="+log, verb)
		cmd.Stdout, cmd.Stderr = said, said
		require.Equal(t, 0, proctest.Launch(t, cmd).Wait(), verb)
	}
	traced("start")
	t.Cleanup(func() { callVerb(t, pidfile, "stop") })
	for _, verb := range []string{"status", "reload", "reopen", "restart", "stop"} {
		traced(verb)
	}
	var calls []string
	removed := `unlinkat(AT_FDCWD, "` + pidfile + `", 0)`
	proctest.Eventually(t, func() bool {
		files, err := filepath.Glob(filepath.Join(traces, "*.*"))
		require.NoError(t, err)
		calls = nil
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			calls = append(calls, strings.Split(string(text), "\n")...)
		}
		return strings.Count(strings.Join(calls, "\n"), removed) == 2
	}, "the end of the traces")
	harmless := regexp.MustCompile(`^openat\(AT_FDCWD, "[^"]*", \S*O_NONBLOCK\|O_NOFOLLOW\S*|^newfstatat\(AT_FDCWD, .*, AT_SYMLINK_NOFOLLOW\)|^unlinkat\(AT_FDCWD, "[^"]*\.(pid|state)", 0\)|^readlinkat\(`)
	ours := 0
	for _, call := range calls {
		if strings.Contains(call, `"`+dir+"/") && !strings.HasPrefix(call, "execve(") {
			ours++
			require.Regexp(t, harmless, call)
		}
	}
	require.Greater(t, ours, 50)
}
