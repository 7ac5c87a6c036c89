package e2e

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/sdnotify"
)

// activated makes a command that gets sockets as systemd passes them: from descriptor 3 on, for the
// PID of that process.
func activated(t *testing.T, given []activation.Socket, program string, args ...string) *exec.Cmd {
	t.Helper()
	proctest.Needs(t, "sh")
	cmd := proctest.Wrapped([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, program, args...)
	var names []string
	for _, s := range given {
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.File)
		names = append(names, s.Name)
	}
	cmd.Env = append(cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(given)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	return cmd
}

// socketsOf returns the open sockets of a process. A socket with several descriptors appears
// several times.
func socketsOf(t *testing.T, pid int) (all []string) {
	t.Helper()
	for _, target := range afterReady(t, pid) {
		if strings.HasPrefix(target, "socket:") {
			all = append(all, target)
		}
	}
	return all
}

func address(at string) string { _, a, _ := strings.Cut(at, ","); return a }

// keeper is a service manager that keeps sockets for the next process.
type keeper struct {
	t      *testing.T
	server *sdnotify.Server

	mu    sync.Mutex
	kept  []activation.Socket
	said  []string     // lines about sockets
	ready map[int]bool // processes that have reported ready
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	server, err := sdnotify.Listen()
	require.NoError(t, err)
	k := &keeper{t: t, server: server, ready: map[int]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := server.Receive()
			if err != nil {
				return
			}
			k.hear(m)
		}
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
		k.drop(func(activation.Socket) bool { return true })
	})
	return k
}

func (k *keeper) hear(m sdnotify.Message) {
	name, _ := m.Value("FDNAME")
	k.mu.Lock()
	if name != "" {
		k.said = append(k.said, strings.ReplaceAll(m.Text, "\n", " "))
	}
	_, isReady := m.Value("READY")
	k.ready[m.PID] = k.ready[m.PID] || isReady
	k.mu.Unlock()
	if _, ok := m.Value("FDSTORE"); ok {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, f := range m.Files {
			k.kept = append(k.kept, activation.Socket{Name: name, File: f})
		}
		return
	}
	<-sdnotify.Discard(m.Files...)
	if _, ok := m.Value("FDSTOREREMOVE"); ok {
		k.drop(func(s activation.Socket) bool { return s.Name == name })
	}
}

func (k *keeper) drop(which func(activation.Socket) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = slices.DeleteFunc(k.kept, func(s activation.Socket) bool {
		if which(s) {
			s.File.Close()
			return true
		}
		return false
	})
}

// has waits until the manager keeps that many sockets, and returns their keys.
func (k *keeper) has(n int) (keys []string) {
	k.t.Helper()
	proctest.Eventually(k.t, func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.kept) == n
	}, "%d sockets to be kept", n)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.kept {
		key, ok := activation.Key(s.Name)
		require.True(k.t, ok, s.Name)
		keys = append(keys, key)
	}
	return keys
}

// heard returns the lines about sockets since the last call.
func (k *keeper) heard() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	said := k.said
	k.said = nil
	return said
}

// awaitReady waits until the manager has received all messages of a process up to its READY=1.
func (k *keeper) awaitReady(p *proctest.Process) {
	k.t.Helper()
	p.Await("msg=ready")
	proctest.Eventually(k.t, func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.ready[p.PID()]
	}, "READY=1 of pid %d", p.PID())
}

// serve starts the program serving with the kept sockets.
func (k *keeper) serve(args ...string) *proctest.Process {
	k.t.Helper()
	return k.run(serving, args...)
}

// run starts a program with the kept descriptors.
func (k *keeper) run(program string, args ...string) *proctest.Process {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock() // until then the manager closes no descriptor
	cmd := activated(k.t, k.kept, program, args...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+k.server.Address, "FDSTORE=16")
	return proctest.Launch(k.t, cmd)
}

func TestABoundSocketIsStoredAndReturnedAfterACrash(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), proctest.ShortDir(t)
	path := filepath.Join(dir, "s")
	args := append(at("tcp,127.0.0.1:0", "tcp,127.0.0.1:0", "unix,"+path, "unix,@"+filepath.Base(dir), "udp,127.0.0.1:0"), "pidfile="+filepath.Join(dir, "x.pid"))
	keys := []string{"tcp:127.0.0.1:0", "2:tcp:127.0.0.1:0", "unix:" + path, "unix:@" + filepath.Base(dir), "udp:127.0.0.1:0"}
	var first string
	for try := range 3 {
		p := k.serve(args...)
		k.awaitReady(p)
		require.Equal(t, keys, k.has(5))
		listens := onlyLines(p.Out.String(), "listens ")
		if try == 0 {
			first = listens
			require.Equal(t, "FDSTORE=1 FDPOLL=0 FDNAME=tcp%3A127.0.0.1%3A0", k.heard()[0])
		}
		require.Equal(t, first, listens, "the same ports in the same order")
		require.Empty(t, k.heard(), "a kept socket is not stored again")
		require.Equal(t, p.PID(), whoServes(t, "unix", path))
		require.Equal(t, p.PID(), whoServes(t, "tcp", listensAt(t, p, "tcp,127.0.0.1:0")))
		require.Len(t, socketsOf(t, p.PID()), 6, "one of the sockets is the connection to the manager")
		require.NotContains(t, p.Out.String(), "closed inherited sockets")
		p.Signal(syscall.SIGKILL)
		p.Wait()
	}
}

// onlyLines returns the lines of a text that begin with begin.
func onlyLines(text, begin string) (found string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, begin) {
			found += line
		}
	}
	return found
}

func TestAStopKeepsStoredSocketsForTheNextProcess(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), proctest.ShortDir(t)
	path := filepath.Join(dir, "s")
	for range 2 {
		p := k.serve("at=unix,"+path, "at=tcp,127.0.0.1:0", "pidfile="+filepath.Join(dir, "x.pid"))
		k.awaitReady(p)
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
		require.Equal(t, []string{"unix:" + path, "tcp:127.0.0.1:0"}, k.has(2))
		require.FileExists(t, path)
	}
	// If the manager loses the sockets, the file remains without a socket.
	k.drop(func(activation.Socket) bool { return true })
	awaitRefusal(t, "unix", path)
	p := k.serve("at=unix,"+path, "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	require.Equal(t, p.PID(), whoServes(t, "unix", path))
	require.Len(t, k.heard(), 3, "no file was removed")
}

func TestAFailedStartKeepsStoredSocketsForTheNextProcess(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), proctest.ShortDir(t)
	args := []string{"at=tcp,127.0.0.1:0", "pidfile=" + filepath.Join(dir, "x.pid")}
	require.Equal(t, 1, k.serve(append(args, "start=error")...).Wait())
	k.has(1)
	p := k.serve(args...)
	k.awaitReady(p)
	require.Len(t, k.heard(), 1)
}
