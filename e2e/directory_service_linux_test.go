package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// directoryService replaces getent(1), which queries the directory services, for the programs that
// it starts. These programs run as the user 4242, whom only this service knows.
type directoryService struct {
	t                   *testing.T
	dir, binary, getent string
	home, asked         string // the user's home; a file with a line for each query
}

const ofService = 4242

func newDirectoryService(t *testing.T) *directoryService {
	t.Helper()
	needsNobody(t)
	proctest.NeedsCommand(t, "unshare", "--mount", "sh", "-c", "mount --bind /bin/true /usr/bin/getent")
	proctest.Needs(t, "setpriv")
	dir := nobodys(t)
	s := &directoryService{t: t, dir: dir, binary: dir + "/program", getent: dir + "/getent", home: dir + "/home", asked: dir + "/asked"}
	require.NoError(t, os.Rename(copyOfTestBinary(t), s.binary))
	require.NoError(t, os.Mkdir(s.home, 0o700))
	require.NoError(t, os.Chown(s.home, ofService, ofService))
	require.NoError(t, os.WriteFile(s.asked, nil, 0o600))
	require.NoError(t, os.Chmod(s.asked, 0o666)) // independent of the umask
	return s
}

// answers sets the script that the service runs for a query of the user 4242.
func (s *directoryService) answers(script string) {
	s.t.Helper()
	text := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>%s\n%s\n", s.asked, script)
	require.NoError(s.t, os.WriteFile(s.getent, []byte(text), 0o600))
	require.NoError(s.t, os.Chmod(s.getent, 0o755))
}

const (
	isDown  = "kill -9 $$"
	isSlow  = "exec sleep 60"
	unknown = "exit 2"
)

// isUp makes the service answer.
func (s *directoryService) isUp() {
	s.t.Helper()
	s.answers(fmt.Sprintf(`[ "$1 $2" = "passwd %d" ] && echo "ada:x:%d:%d::%s:/bin/sh" && exit; exit 2`, ofService, ofService, ofService, s.home))
}

// call runs a program as the user 4242, or as root.
func (s *directoryService) call(root bool, program string, args ...string) proctest.Result {
	s.t.Helper()
	as := fmt.Sprintf("exec setpriv --reuid=%d --regid=%d --clear-groups", ofService, ofService)
	if root {
		as = "exec"
	}
	cmd := proctest.Wrapped([]string{"unshare", "--mount", "sh", "-c", "mount --bind " + s.getent + " /usr/bin/getent && " + as + ` "$@"`, "sh"}, program, args...)
	for i, arg := range cmd.Args {
		if arg == proctest.Binary() {
			cmd.Args[i] = s.binary
		}
	}
	cmd.Dir = "/"
	return proctest.CallCommand(s.t, cmd)
}

// questions returns how often the service was asked since the last call.
func (s *directoryService) questions() int {
	s.t.Helper()
	text, err := os.ReadFile(s.asked)
	require.NoError(s.t, err)
	require.NoError(s.t, os.Truncate(s.asked, 0))
	return strings.Count(string(text), "\n")
}

// chooser is a program that passes the default paths as options. With "logs", it passes only the
// path of the log.
var chooser = proctest.Register("chooser", func(args []string) int {
	opts := []lifecycle.Option{lifecycle.Name(args[0]), lifecycle.LogFile(lifecycle.DefaultLogFile(args[0]))}
	if args[1] != "logs" {
		opts = append(opts, lifecycle.PIDFile(lifecycle.DefaultPIDFile(args[0])))
	} else {
		opts = append(opts, lifecycle.PIDFile(""))
	}
	return lifecycle.Main(args[len(args)-1:], nil, opts...)
})

// With another default path, a start would start a second daemon, and status would not find the
// first one.
func TestADefaultPathDoesNotMoveWhileTheDirectoryServiceIsDown(t *testing.T) {
	proctest.Use(defaulted)
	proctest.Use(chooser)
	t.Parallel()
	s := newDirectoryService(t)
	name := proctest.OwnName("directory")
	elsewhere := fmt.Sprintf("/tmp/%s-%d", name, ofService)
	s.isUp()
	started := s.call(false, defaulted, name, "start")
	require.Equal(t, 0, started.Code, "%+v", started)
	t.Cleanup(func() {
		s.isUp()
		require.Equal(t, 0, s.call(false, defaulted, name, "stop").Code)
	})
	require.Contains(t, started.Stderr, "log "+s.home+"/.local/state/"+name+"/"+name+".log\n")
	require.Equal(t, 2, s.questions(), "one question of the launcher and one of the daemon")

	for _, how := range []string{isDown, isSlow} {
		s.answers(how)
		s.questions()
		why := "default PID file: cannot find the home directory: user \"4242\": /usr/bin/getent: signal: killed: try again, or set PIDFile"
		if how == isSlow {
			why = "default PID file: cannot find the home directory: user \"4242\": /usr/bin/getent did not answer in 2s: try again, or set PIDFile"
		}
		require.Equal(t, proctest.Result{Stderr: name + ": start failed: " + why + "\n", Code: 1}, s.call(false, defaulted, name, "start"))
		require.Equal(t, 1, s.questions())
		require.NoFileExists(t, elsewhere)
		if how == isSlow {
			break
		}
		refused := s.call(false, defaulted, name, "run")
		require.Equal(t, 1, refused.Code)
		require.Contains(t, strings.ReplaceAll(refused.Stderr, `\"`, `"`), ` ERROR start failed err="`+why+`"`)
		require.Equal(t, proctest.Result{Stderr: name + ": stop: " + why + "\n", Code: 1}, s.call(false, defaulted, name, "stop", "--oknodo"))
		require.Equal(t, proctest.Result{Stderr: name + ": restart: " + why + "\n", Code: 1}, s.call(false, defaulted, name, "restart"))
		require.Equal(t, proctest.Result{Stdout: name + ": unknown: " + why + "\n", Code: 4}, s.call(false, defaulted, name, "status"))
		require.Equal(t, 150, s.call(false, defaulted, name, "status", "--ready").Code)
		got := s.call(false, defaulted, name, "status", "--json")
		require.Equal(t, 4, got.Code)
		var report map[string]any
		require.NoError(t, json.Unmarshal([]byte(got.Stdout), &report))
		require.Equal(t, map[string]any{"state": "unknown", "pid_file": "", "error": why}, report)
		for _, path := range []string{"pidfile", "logs"} { // the program itself queries the paths
			got := s.call(false, chooser, name, path, "start")
			require.Equal(t, 1, got.Code)
			require.Contains(t, got.Stderr, "cannot find the home directory")
		}
		require.NoFileExists(t, elsewhere)
	}
	s.isUp()
	require.Equal(t, 0, s.call(false, defaulted, name, "status").Code, "the first daemon is the only one")
}

func TestAnUnknownUserHasFilesInTmp(t *testing.T) {
	proctest.Use(defaulted)
	t.Parallel()
	s := newDirectoryService(t)
	name := proctest.OwnName("unknown")
	s.answers(unknown)
	want := fmt.Sprintf("/tmp/%s-%d/%s.pid", name, ofService, name)
	require.Equal(t, proctest.Result{Stdout: name + ": not running (nobody holds " + want + ")\n", Code: 3}, s.call(false, defaulted, name, "status"))
}

func TestPathsThatTheProgramSetsNeedNoDirectoryService(t *testing.T) {
	t.Parallel()
	s := newDirectoryService(t)
	s.answers(isDown)
	pidfile := filepath.Join(s.home, "daemon.pid")
	args := []string{"pidfile=" + pidfile, "log=" + filepath.Join(s.home, "daemon.log")}
	got := s.call(false, daemon, append(args, "start")...)
	require.Equal(t, 0, got.Code, "%+v", got)
	require.Equal(t, 0, s.call(false, daemon, append(args, "stop")...).Code)
	require.Zero(t, s.questions())
}

// A daemon must not run without the home directory and the groups of its user.
func TestAUserIsNotReportedAsUnknownWhileTheDirectoryServiceIsDown(t *testing.T) {
	t.Parallel()
	s := newDirectoryService(t)
	pidfile := proctest.PIDPath(t)
	for user, why := range map[string]string{
		"ada":       `user "ada": /usr/bin/getent: signal: killed`,
		"4242":      `user "4242": /usr/bin/getent: signal: killed`,
		"4242:4242": `user "4242": /usr/bin/getent: signal: killed`,
		"0:ada":     `group "ada": /usr/bin/getent: signal: killed`,
		"root":      `the groups of user "root": /usr/bin/getent: signal: killed`,
	} {
		s.answers(isDown)
		want := proctest.Result{Stderr: fmt.Sprintf("daemon: start failed: User(%q): %s\n", user, why), Code: 1}
		if user == "0:ada" {
			s.answers(`[ "$1" = initgroups ] && exit 2; ` + isDown)
		}
		require.Equal(t, want, s.call(true, daemon, "pidfile="+pidfile, "user="+user, "start"))
	}
	s.answers(unknown)
	require.Equal(t, 0, s.call(true, daemon, "pidfile="+pidfile, "user=4242:4242", "start").Code)
	require.Equal(t, 0, s.call(true, daemon, "pidfile="+pidfile, "stop").Code)
}
