package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/socket"
)

// byteful is a program that is named after its executable and logs its arguments. Its first
// argument is the directory of its files. Its second argument is "plain", "supervised", "fails" or
// "ensures". Its third argument has no meaning. Its other arguments are the verb.
var byteful = proctest.Register("byteful", func(args []string) int {
	dir, how := args[0], args[1]
	var listener net.Listener
	path := filepath.Join(dir, "s")
	opts := []lifecycle.Option{
		lifecycle.PIDFile(filepath.Join(dir, "x.pid")), lifecycle.LogFile(filepath.Join(dir, "x.log")), lifecycle.WorkDir(dir),
		lifecycle.OnStart(func(ctx context.Context) (err error) {
			if how == "fails" {
				_, err := os.Open(filepath.Join(dir, "missing"))
				return err
			}
			fmt.Printf("arguments: %q\n", os.Args[1:])
			listener, err = socket.Listen("unix", path)
			return err
		}),
		lifecycle.OnReload(func(context.Context) error { return errors.New("bad: " + path) }),
		lifecycle.OnExit(func(context.Context) error { listener.Close(); return nil }),
	}
	if how == "supervised" {
		opts = append(opts, lifecycle.Supervise(lifecycle.RestartPolicy{MinDelay: -1}))
	}
	if how == "ensures" && !lifecycle.InDaemon() {
		p, err := lifecycle.Ensure(context.Background(), append(opts, lifecycle.Args(dir, "plain", args[2], "start"))...)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		return lifecycle.ExitCode(errors.Join(p.Stop(context.Background()), p.Close()))
	}
	fn := func(ctx context.Context) error {
		lifecycle.From(ctx).SetStatus("serving " + path)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return ctx.Err()
			}
			fmt.Fprintln(conn, os.Getpid())
			conn.Close()
		}
	}
	return lifecycle.Main(args[3:], func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { listener.Close() })()
		return fn(ctx)
	}, opts...)
})

// strangeNames lists names that a file system accepts but that are not printable UTF-8.
var strangeNames = []string{"caf\xe9", "\xff", "a\nb", "t\tab \"q\" 'x' \\x41 %s $HOME", "\x1b[2J\u202e\u009b"}

// Row B17.
func TestPathsAndArgumentsOfAnyBytesWork(t *testing.T) {
	t.Parallel()
	for _, name := range proctest.Few(3, strangeNames) {
		for _, how := range []string{"plain", "supervised"} {
			t.Run(fmt.Sprintf("%q %s", name, how), func(t *testing.T) {
				t.Parallel()
				useBytes(t, name, how)
			})
		}
	}
}

// strangePlace makes a directory with that name and a short path, and a program with that name.
func strangePlace(t *testing.T, name string) (dir, program string) {
	t.Helper()
	base, err := os.MkdirTemp("/tmp", "b") // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	dir = filepath.Join(base, name)
	require.NoError(t, os.Mkdir(dir, 0o700))
	program = filepath.Join(base, "p-byteful")
	if !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x9b }) {
		program = filepath.Join(base, "p-"+name) // a program name must have no control characters
	}
	require.NoError(t, os.Rename(copyOfTestBinary(t), program))
	return dir, program
}

func useBytes(t *testing.T, name, how string) {
	dir, program := strangePlace(t, name)
	call := func(args ...string) proctest.Result {
		cmd := proctest.Command(byteful, append([]string{dir, how, name}, args...)...)
		cmd.Path, cmd.Args[0] = program, program
		return proctest.CallCommand(t, cmd)
	}
	pidfile, log := filepath.Join(dir, "x.pid"), filepath.Join(dir, "x.log")
	t.Cleanup(func() { call("stop") })
	got := call("start")
	require.Equal(t, 0, got.Code, "%q", got.Stderr)
	require.Contains(t, got.Stderr, "log "+bytetext.Escape(log)+"\n")

	p, err := lifecycle.Find(pidfile)
	require.NoError(t, err)
	defer p.Close()
	s, err := p.Status()
	require.NoError(t, err)
	require.Equal(t, log, s.LogFile, "the path keeps its bytes")
	require.Equal(t, filepath.Base(program), s.Name)
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(text), fmt.Sprintf("arguments: [%q %q %q ", dir, how, name))

	got = call("status", "--json")
	requireBytesReported(t, got, pidfile, log)
	reload := call("reload")
	require.Equal(t, 1, reload.Code)
	require.Contains(t, reload.Stderr, "reload rejected, old configuration kept: bad: ")
	for _, answer := range []proctest.Result{got, reload, call("status")} {
		require.True(t, utf8.ValidString(answer.Stdout+answer.Stderr), "%q", answer)
	}
	serving := dial(t, filepath.Join(dir, "s"))
	if how == "supervised" {
		require.NoError(t, syscall.Kill(serving, syscall.SIGKILL))
		proctest.Eventually(t, func() bool { return dial(t, filepath.Join(dir, "s")) != serving }, "the next worker, with the same socket")
	}
	got = call("stop")
	require.Equal(t, 0, got.Code, "%q", got.Stderr)
	require.Equal(t, bytetext.Escape(filepath.Base(program))+": not running (nobody holds "+bytetext.Escape(pidfile)+")\n", call("status").Stdout)
	require.NoError(t, os.Remove(log))
	requireNothingLeft(t, pidfile)
	require.NoFileExists(t, filepath.Join(dir, "s"))
}

// requireBytesReported requires JSON output from which the exact paths can be restored.
func requireBytesReported(t *testing.T, got proctest.Result, pidfile, log string) {
	t.Helper()
	require.Equal(t, 0, got.Code)
	var report map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.Stdout), &report))
	require.Equal(t, pidfile, bytetext.Unescape(report["pid_file"].(string)))
	require.Equal(t, log, bytetext.Unescape(report["log_file"].(string)))
	require.NotContains(t, got.Stdout, "\ufffd")
}

// dial returns the PID of the process that serves the socket.
func dial(t *testing.T, path string) (pid int) {
	t.Helper()
	proctest.Eventually(t, func() bool {
		conn, err := net.DialTimeout("unix", path, 10*time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		_, err = fmt.Fscan(conn, &pid)
		return err == nil
	}, "a server at %q", path)
	return pid
}

func TestEnsureAndAFailedStartKeepTheBytesOfAPath(t *testing.T) {
	t.Parallel()
	for _, name := range strangeNames {
		dir, program := strangePlace(t, name)
		call := func(args ...string) proctest.Result {
			cmd := proctest.Command(byteful, append([]string{dir}, args...)...)
			cmd.Path, cmd.Args[0] = program, program
			return proctest.CallCommand(t, cmd)
		}
		require.Equal(t, proctest.Result{}, call("ensures", name, "start"))
		got := call("fails", name, "start")
		require.Equal(t, 1, got.Code)
		require.Contains(t, got.Stderr, "start failed: open ")
		require.True(t, utf8.ValidString(got.Stderr))
		if name == "caf\xe9" {
			require.Equal(t, fmt.Sprintf("p-caf\\xe9: start failed: open %s: no such file or directory\n", bytetext.Escape(filepath.Join(dir, "missing"))), withoutLog(got).Stderr)
		}
		require.NoError(t, os.Remove(filepath.Join(dir, "x.log")))
		requireNothingLeft(t, filepath.Join(dir, "x.pid"))
	}
}

// systemd drops a message that is not UTF-8, even if the message contains READY=1.
func TestAStatusThatIsNotUTF8ReachesTheServiceManager(t *testing.T) {
	t.Parallel()
	address := filepath.Join(proctest.ShortDir(t), "caf\xe9")
	m := proctest.ManagerAt(t, address)
	dir, program := strangePlace(t, "caf\xe9")
	cmd := proctest.Command(byteful, dir, "plain", "", "run")
	cmd.Path, cmd.Args[0] = program, program
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address)
	p := proctest.Launch(t, cmd)
	m.Await("STATUS=serving " + strings.ReplaceAll(filepath.Join(dir, "s"), "\xe9", `\xe9`))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
}
