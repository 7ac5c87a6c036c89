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
	"example.com/lifecycle/internal/sys/sdnotify"
)

// pathserver is a supervised program with a unix socket. It sends its PID to each client.
//
//	pathserver [key=value …] verb
//
// The keys pidfile, log, supervise and user are the same as in the program daemon. The others are:
//
//	at=PATH    of the socket; a datagram socket if PATH ends in .d
//	close=     OnExit closes it
//	fail=PATH  OnStart fails if that file exists
var pathserver = proctest.Register("pathserver", func(args []string) int {
	does := map[string]string{}
	for len(args) > 1 {
		key, value, _ := strings.Cut(args[0], "=")
		does[key], args = value, args[1:]
	}
	var s server
	opts := []lifecycle.Option{
		lifecycle.Name("pathserver"), lifecycle.PIDFile(does["pidfile"]), lifecycle.LogFile(does["log"]), lifecycle.Supervise(parsePolicy(does["supervise"])),
		lifecycle.User(does["user"]),
		lifecycle.OnStart(func(context.Context) error {
			s.at = []string{"unix," + does["at"]}
			if strings.HasSuffix(does["at"], ".d") {
				s.at = []string{"unixgram," + does["at"]}
			}
			if err := s.listen(); err != nil {
				return err
			}
			if _, err := os.Stat(does["fail"]); err == nil {
				return errors.New("told to fail")
			}
			return nil
		}),
	}
	if _, closes := does["close"]; closes {
		opts = append(opts, lifecycle.OnExit(func(context.Context) error { return s.close() }))
	}
	return lifecycle.Main(args, nil, opts...)
})

// fileAt returns the file at a path.
func fileAt(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info
}

func TestTheSocketFileOfASupervisedDaemonOutlivesARestartAndIsRemovedAtTheStop(t *testing.T) {
	t.Parallel()
	for what, args := range map[string][]string{"closed": {"close="}, "not closed": nil, "a datagram socket": {"close="}} {
		b, path := inBackground(t), filepath.Join(proctest.ShortDir(t), "s")
		if what == "a datagram socket" {
			path += ".d"
		}
		call := func(verb string) proctest.Result {
			return proctest.Call(t, pathserver, append(b.args("at="+path, "supervise=min:-1ns,limit:-1"), append(args, verb)...)...)
		}
		for _, kills := range []int{0, 2} {
			b.readied(call("start"))
			worker, bound := b.worker(0), fileAt(t, path)
			for range kills {
				require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
				worker = b.worker(worker)
				require.True(t, os.SameFile(bound, fileAt(t, path)), what)
			}
			require.Equal(t, 0, call("stop").Code)
			require.NoFileExists(t, path, what)
		}
	}
}

// If the policy requires this, another worker follows a worker that exits with 0.
func TestTheSocketFileStaysForTheWorkerThatFollowsACleanExit(t *testing.T) {
	t.Parallel()
	b, path := inBackground(t), filepath.Join(proctest.ShortDir(t), "s")
	b.readied(proctest.Call(t, pathserver, b.args("at="+path, "close=", "supervise=always,min:-1ns,limit:-1", "start")...))
	worker, bound := b.worker(0), fileAt(t, path)
	require.NoError(t, syscall.Kill(worker, syscall.SIGTERM))
	next := b.worker(worker)
	require.Equal(t, next, whoServes(t, "unix", path))
	require.True(t, os.SameFile(bound, fileAt(t, path)))
	b.stop()
	require.NoFileExists(t, path)

	// With this policy, no other worker follows.
	b = inBackground(t)
	parent := b.readied(proctest.Call(t, pathserver, b.args("at="+path, "close=", "supervise=min:-1ns", "start")...))
	require.NoError(t, syscall.Kill(b.worker(0), syscall.SIGTERM))
	proctest.Eventually(t, func() bool { return proctest.IsOver(parent) }, "the supervisor to end")
	require.NoFileExists(t, path)
}

func TestAStartThatFailsLeavesNoSocketFile(t *testing.T) {
	t.Parallel()
	b, path := inBackground(t), filepath.Join(proctest.ShortDir(t), "s")
	got := proctest.Call(t, pathserver, b.args("at="+path, "fail="+os.DevNull, "supervise=min:-1ns", "start")...)
	require.Contains(t, got.Stderr, "told to fail")
	require.NoFileExists(t, path)
}

func TestAWorkerWhoseSupervisorWasKilledRemovesItsSocketFile(t *testing.T) {
	t.Parallel()
	b, path := inBackground(t), filepath.Join(proctest.ShortDir(t), "s")
	args := b.args("at="+path, "supervise=min:-1ns", "start")
	parent := b.readied(proctest.Call(t, pathserver, args...))
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
	proctest.Eventually(t, func() bool { return !mustLook(t, b.pidfile).Held && proctest.IsOver(worker) }, "both to end")
	require.NoFileExists(t, path)
	b.readied(proctest.Call(t, pathserver, args...))
	b.stop()
	require.NoFileExists(t, path)
}

// The next worker has inherited a socket. Its path now names a file of another user.
// Row L18.
func TestASocketFileThatWasReplacedBetweenWorkersIsNotRemoved(t *testing.T) {
	t.Parallel()
	b, path := inBackground(t), filepath.Join(proctest.ShortDir(t), "s")
	b.readied(proctest.Call(t, pathserver, b.args("at="+path, "close=", "supervise=min:-1ns,limit:-1", "start")...))
	worker := b.worker(0)
	require.NoError(t, os.Remove(path))
	stranger, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer stranger.Close()
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	b.stop()
	require.FileExists(t, path)
}

// The next worker binds a new socket, because no client can reach a socket without its file.
func TestAWorkerBindsAgainIfTheSocketFileWasRemoved(t *testing.T) {
	t.Parallel()
	b, path := inBackground(t), filepath.Join(proctest.ShortDir(t), "s")
	b.readied(proctest.Call(t, pathserver, b.args("at="+path, "supervise=min:-1ns,limit:-1", "start")...))
	worker := b.worker(0)
	require.NoError(t, os.Remove(path))
	for range 2 {
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		worker = b.worker(worker)
		require.Equal(t, worker, whoServes(t, "unix", path))
	}
	b.stop()
	require.NoFileExists(t, path)
}

// Row L18.
func TestTheSocketFileOfAWorkerWithAUserIsRemovedIfThatUserMayRemoveIt(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	for _, owner := range []int{12345, 0} {
		b, dir := inBackground(t), proctest.ShortDir(t)
		require.NoError(t, os.Chmod(dir, 0o755))
		require.NoError(t, os.Chown(dir, owner, owner))
		require.NoError(t, os.Chmod(filepath.Dir(b.log), 0o755))
		path := filepath.Join(dir, "s")
		call := func(verb string) proctest.Result {
			return proctest.Call(t, pathserver, b.args("at="+path, "user=12345:12345", "close=", "supervise=min:-1ns,limit:-1", verb)...)
		}
		for range 2 { // a file that stays is replaced
			b.readied(call("start"))
			worker := b.worker(0)
			require.Equal(t, 12345, userOf(t, worker))
			require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
			require.Equal(t, b.worker(worker), whoServes(t, "unix", path))
			require.Equal(t, 0, call("stop").Code)
			if owner == 0 {
				require.FileExists(t, path, "the user may not remove the file, and root does not remove it for the user")
			} else {
				require.NoFileExists(t, path)
			}
		}
	}
}

// exchanger stores bound sockets. Then it makes their path lead to another directory, requests
// their removal, and reports ready.
//
//	exchanger DIR OTHER
var exchanger = proctest.Register("exchanger", func(args []string) int {
	dir, other := args[0], args[1]
	manager, err := sdnotify.Dial(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"stream", "datagram"} {
		var c interface{ File() (*os.File, error) }
		at := &net.UnixAddr{Name: filepath.Join(dir, name), Net: "unix"}
		if name == "stream" {
			l, err := net.ListenUnix("unix", at)
			if err != nil {
				panic(err)
			}
			l.SetUnlinkOnClose(false)
			c = l
		} else {
			at.Net = "unixgram"
			p, err := net.ListenUnixgram("unixgram", at)
			if err != nil {
				panic(err)
			}
			c = p
		}
		f, err := c.File()
		if err == nil {
			err = manager.SendFiles([]*os.File{f}, "FDSTORE=1", "FDNAME=x")
		}
		if err == nil {
			err = manager.SendFiles([]*os.File{f}, "FDSTORE=1", "FDNAME=y") // kept until the stop
		}
		if err != nil {
			panic(err)
		}
		f.Close()
		c.(interface{ Close() error }).Close()
	}
	if err := errors.Join(os.Rename(dir, dir+".old"), os.Symlink(other, dir)); err != nil {
		panic(err)
	}
	barrier, heard, err := os.Pipe()
	if err == nil {
		err = manager.Send("FDSTOREREMOVE=1", "FDNAME=x")
	}
	if err == nil {
		err = manager.SendFiles([]*os.File{heard}, "BARRIER=1")
	}
	if err != nil {
		panic(err)
	}
	heard.Close()
	_, _ = barrier.Read(make([]byte, 1))
	_ = manager.Send("READY=1")
	select {}
})

// The victims look like sockets of a worker. They belong to root if the test runs as root.
// Row L18.
func TestASupervisorRemovesNoFileForAWorker(t *testing.T) {
	t.Parallel()
	b, dir, other := inBackground(t), filepath.Join(proctest.ShortDir(t), "d"), proctest.ShortDir(t)
	require.NoError(t, os.Mkdir(dir, 0o755))
	for _, name := range []string{"stream", "datagram"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(other, name), Net: "unix"})
		require.NoError(t, err)
		l.SetUnlinkOnClose(false)
		require.NoError(t, l.Close())
	}
	args := append(b.args("supervise=settle:1h", "start"), "--", "env", proctest.Assignment(exchanger), proctest.Binary(), dir, other)
	b.readied(proctest.Call(t, guard, args...))
	require.FileExists(t, filepath.Join(other, "stream"))
	require.FileExists(t, filepath.Join(other, "datagram"))
	b.stop()
	require.FileExists(t, filepath.Join(other, "stream"))
	require.FileExists(t, filepath.Join(other, "datagram"))
}

// userOf returns the effective user of a process.
func userOf(t *testing.T, pid int) (uid int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(status), "Uid:")
	_, err = fmt.Sscan(rest, &uid, &uid)
	require.NoError(t, err)
	return uid
}
