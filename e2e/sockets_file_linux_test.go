package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/socket"
)

// forgetter is a life that listens on a socket file and never closes the socket.
//
//	forgetter [key=value …] [verb]
//
// The keys pidfile, log, workdir, chroot and supervise are the same as in the program daemon.
// daemonpid is another path of the PID file, for the daemon only, not for a worker. main changes to
// the directory chdir. at is the path of the socket. when is the time at which forgetter listens:
// early, start or body; the default is start. The key fail makes OnStart fail, hang makes OnStop
// hang, and wrong gives an invalid option. Without a verb, forgetter calls Run.
var forgetter = proctest.Register("forgetter", func(args []string) int {
	does := map[string]string{}
	var verb []string
	for _, arg := range args {
		if key, value, found := strings.Cut(arg, "="); found {
			does[key] = value
		} else {
			verb = append(verb, arg)
		}
	}
	has := func(key string) bool { _, ok := does[key]; return ok }
	if has("chdir") {
		if err := os.Chdir(does["chdir"]); err != nil {
			panic(err)
		}
	}
	listen := func(when string) error {
		if when != does["when"] && (when != "start" || has("when")) {
			return nil
		}
		if strings.HasSuffix(does["at"], ".d") {
			c, err := socket.ListenPacket("unixgram", does["at"])
			keptAlive = append(keptAlive, c)
			return err
		}
		l, err := socket.Listen("unix", does["at"])
		keptAlive = append(keptAlive, l)
		return err
	}
	if err := listen("early"); err != nil {
		panic(err)
	}
	pidfile := does["pidfile"]
	if isWorker := os.Getenv("NOTIFY_SOCKET") != ""; has("daemonpid") && lifecycle.InDaemon() && !isWorker {
		pidfile = does["daemonpid"]
	}
	opts := []lifecycle.Option{
		lifecycle.Name("forgetter"), lifecycle.PIDFile(pidfile), lifecycle.LogFile(does["log"]),
		lifecycle.OnStart(func(context.Context) error {
			err := listen("start")
			if has("fail") {
				err = errors.Join(err, errors.New("told to fail"))
			}
			return err
		}),
		lifecycle.OnStop(func(context.Context) error {
			if has("hang") {
				select {}
			}
			return nil
		}),
	}
	if has("workdir") {
		opts = append(opts, lifecycle.WorkDir(does["workdir"]))
	}
	if has("chroot") {
		opts = append(opts, lifecycle.Chroot(does["chroot"]))
	}
	if has("supervise") {
		opts = append(opts, lifecycle.Supervise(parsePolicy(does["supervise"])))
	}
	if has("wrong") {
		opts = append(opts, lifecycle.Umask(-2))
	}
	body := func(ctx context.Context) error {
		if err := listen("body"); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	if len(verb) == 0 {
		err := lifecycle.Run(body, opts...)
		fmt.Fprintln(os.Stderr, "Run returned:", err)
		return lifecycle.ExitCode(err)
	}
	return lifecycle.Main(verb, body, opts...)
})

// keptAlive holds the sockets of forgetter. Otherwise a finalizer would close them.
var keptAlive []any

func TestASocketThatTheProgramNeverClosesLeavesNoFile(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"", "when=body", "supervise=min:-1ns"} {
		for _, name := range []string{"s", "s.d"} {
			b, path := inBackground(t), filepath.Join(proctest.ShortDir(t), name)
			call := func(args ...string) proctest.Result {
				return proctest.Call(t, forgetter, b.args(append([]string{"at=" + path}, append(strings.Fields(how), args...)...)...)...)
			}
			b.readied(call("start"))
			proctest.Eventually(t, func() bool { return isFile(path) }, "the socket of the body")
			require.Equal(t, 0, call("stop").Code)
			require.NoFileExists(t, path, how)

			require.Equal(t, 1, call("fail=", "start").Code)
			require.NoFileExists(t, path, "a failed start, "+how)
		}
	}
}

func isFile(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestASocketThatIsOpenedInTheWrongProcessLeavesNoFile(t *testing.T) {
	t.Parallel()
	for what, args := range map[string][]string{
		"a launcher": {"start"}, "another verb": {"status"}, "a wrong option": {"wrong="}, "a verb with a wrong option": {"wrong=", "run"},
		"a supervisor": {"supervise=foreground", "run"}, "a failed life": {"fail="},
	} {
		b, path := inBackground(t), filepath.Join(proctest.ShortDir(t), "s")
		got := proctest.Call(t, forgetter, b.args(append([]string{"when=early", "at=" + path}, args...)...)...)
		require.NotEqual(t, 0, got.Code, what)
		require.NoFileExists(t, path, what)
	}
}

// The second TERM ends the process at once.
func TestAProcessThatQuitsAtOnceLeavesNoSocketFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(proctest.ShortDir(t), "s")
	p := proctest.Start(t, forgetter, "pidfile="+proctest.PIDPath(t), "hang=", "at="+path)
	p.Await("INFO ready")
	require.FileExists(t, path)
	p.ForceQuit()
	require.Equal(t, 1, p.Wait())
	require.NoFileExists(t, path)
}

// Both main and Run change the directory. Run does it with WorkDir or in a detached process.
func TestARelativeSocketPathIsRelativeToTheDirectoryOfTheStart(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"workdir=/ run", "when=early chdir=/ run", "when=body start", "start", "chdir=/ start", "chdir=/ supervise=min:-1ns,limit:-1 start"} {
		for _, name := range []string{"s", "./s.d"} {
			b, dir := inBackground(t), proctest.ShortDir(t)
			call := func(args ...string) *proctest.Process {
				cmd := proctest.Command(forgetter, b.args(append([]string{"at=" + name}, args...)...)...)
				cmd.Dir = dir
				return proctest.Launch(t, cmd)
			}
			args := strings.Fields(how)
			p := call(args...)
			if args[len(args)-1] == "start" {
				require.Equal(t, 0, p.Wait(), how)
			} else {
				p.Await("INFO ready")
			}
			path := filepath.Join(dir, name)
			proctest.Eventually(t, func() bool { return isFile(path) }, "the socket, %s", how)
			if strings.Contains(how, "supervise") {
				bound, worker := fileAt(t, path), b.worker(0)
				require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
				b.worker(worker)
				require.True(t, os.SameFile(bound, fileAt(t, path)), "the next worker has the socket")
			}
			require.Equal(t, 0, call("stop").Wait())
			require.Empty(t, files(t, dir), how)
		}
	}
}

// The error shows the path that was bound.
func TestARelativeSocketPathIsAbsoluteInAnError(t *testing.T) {
	t.Parallel()
	b, dir := inBackground(t), proctest.ShortDir(t)
	stranger, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	defer stranger.Close()
	cmd := proctest.Command(forgetter, b.args("at=s", "start")...)
	cmd.Dir = dir
	got := proctest.CallCommand(t, cmd)
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "listen unix "+dir+"/s: bind: address already in use: another process listens there")
	require.FileExists(t, filepath.Join(dir, "s"))
}

// Row L11.
func TestASocketInsideTheNewRootDirectoryIsFoundThere(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	root := jail(t)
	dir := filepath.Join(root, "run")
	for _, how := range []string{"", "when=body", "supervise=min:-1ns"} {
		b := inBackground(t)
		call := func(args ...string) proctest.Result {
			cmd := proctest.Command(forgetter, b.args(append(append(strings.Fields(how), "at=s", "chroot="+root), args...)...)...)
			cmd.Dir = dir
			return proctest.CallCommand(t, cmd)
		}
		b.readied(call("start"))
		proctest.Eventually(t, func() bool { return isFile(filepath.Join(dir, "s")) }, "the socket, %s", how)
		require.Equal(t, 0, call("stop").Code)
		require.Empty(t, files(t, dir), how)
	}

	outside := proctest.Command(forgetter, "pidfile=", "when=body", "at=s", "chroot="+root)
	outside.Dir = proctest.ShortDir(t)
	got := proctest.CallCommand(t, outside)
	require.NotEqual(t, 0, got.Code)
	require.Contains(t, got.Stderr, "listen unix s: the working directory of the start is unknown, or outside of the root directory")
}

// For example, systemd resolves /var/run in ListenStream=.
// Row E5.
func TestASocketOfAUnitIsTakenUnderAnotherNameOfItsDirectory(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"unix", "unixgram"} {
		dir := proctest.ShortDir(t)
		require.NoError(t, os.Mkdir(filepath.Join(dir, "run"), 0o755))
		require.NoError(t, os.Symlink("run", filepath.Join(dir, "link")))
		name := map[string]string{"unix": "s", "unixgram": "s.d"}[network]
		given, _ := unit(t, "a.socket", network, filepath.Join(dir, "run", name))
		for _, where := range []string{"link", "run", "link/../run"} {
			at := "at=" + dir + "/" + where + "/" + name
			p := proctest.Launch(t, activated(t, []activation.Socket{given}, forgetter, "pidfile="+proctest.PIDPath(t), at, "run"))
			p.Await("INFO ready")
			p.Signal(syscall.SIGTERM)
			require.Equal(t, 0, p.Wait())
			require.FileExists(t, filepath.Join(dir, "run", name), "the socket file belongs to the unit")
		}
	}
}

// A launcher and its daemon, or a supervisor and its worker, may name the directory of the PID file
// in two ways.
func TestTwoNamesOfAPIDFileAreTheSameFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	require.NoError(t, os.Mkdir(real, 0o755))
	require.NoError(t, os.Symlink(real, filepath.Join(dir, "link")))
	one, other := filepath.Join(real, "x.pid"), filepath.Join(dir, "link", "x.pid")
	for _, supervised := range []string{"", "supervise=min:-1ns,limit:-1"} {
		for _, named := range [][2]string{{one, other}, {other, one}} {
			at := filepath.Join(proctest.ShortDir(t), "s")
			call := func(pidfile string, args ...string) proctest.Result {
				return proctest.Call(t, forgetter, append(append(strings.Fields(supervised), "pidfile="+pidfile, "at="+at), args...)...)
			}
			started := call(named[0], "daemonpid="+named[1], "start")
			require.Equal(t, 0, started.Code, started.Stderr)
			pid := mustLook(t, one).PID
			t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
			for _, pidfile := range named {
				require.Contains(t, call(pidfile, "start").Stderr, "already running")
				require.Equal(t, 0, call(pidfile, "status").Code)
			}
			require.Equal(t, 0, call(named[0], "stop").Code)
			require.Empty(t, files(t, real))
		}
	}
}
