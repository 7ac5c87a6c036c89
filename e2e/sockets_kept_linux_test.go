package e2e

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/activation"
)

func TestASocketThatIsClosedWhileReadyIsNotStoredAnyMore(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), proctest.ShortDir(t)
	path := filepath.Join(dir, "s")
	p := k.serve("at=unix,"+path, "at=tcp,127.0.0.1:0", "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	k.has(2)
	k.heard()
	p.Signal(syscall.SIGUSR2)
	p.Await("closed")
	k.has(0)
	require.Equal(t, []string{"FDSTOREREMOVE=1 FDNAME=" + activation.Name("unix:"+path), "FDSTOREREMOVE=1 FDNAME=tcp%3A127.0.0.1%3A0"}, k.heard())
	require.NoFileExists(t, path)
	awaitRefusal(t, "tcp", listensAt(t, p, "tcp,127.0.0.1:0"))
	require.Len(t, socketsOf(t, p.PID()), 1, "the only socket is the connection to the manager")
}

// A manager may close its copy late. Until then, the address cannot be bound.
func TestAReloadCanListenAgainIfAManagerStoresSockets(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), proctest.ShortDir(t)
	probe, err := net.Listen("tcp", "127.0.0.1:0") // a free port
	require.NoError(t, err)
	at := "tcp," + probe.Addr().String()
	require.NoError(t, probe.Close())
	path := filepath.Join(dir, "s")
	args := []string{"at=" + at, "at=unix," + path, "pidfile=" + filepath.Join(dir, "x.pid")}
	var said []string
	for _, all := range []int{2 + 4, 0 + 4} { // the first time bound, the second time passed
		p := k.serve(args...)
		k.awaitReady(p)
		p.Signal(syscall.SIGHUP)
		p.Await("msg=reloaded")
		require.Equal(t, p.PID(), whoServes(t, "tcp", address(at)))
		require.Equal(t, p.PID(), whoServes(t, "unix", path))
		proctest.Eventually(t, func() bool {
			said = append(said, k.heard()...)
			return len(said) == all
		}, "%d words about sockets", all)
		said = nil
		k.has(2)
		p.Signal(syscall.SIGKILL)
		p.Wait()
	}
}

func TestASocketCanBeClosedAndRequestedAgainDuringTheStart(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), proctest.ShortDir(t)
	path := filepath.Join(dir, "s")
	p := k.serve("at=unix,"+path, "at=tcp,127.0.0.1:0", "twice=", "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	require.Equal(t, p.PID(), whoServes(t, "unix", path))
	require.Equal(t, p.PID(), whoServes(t, "tcp", listensAt(t, p, "tcp,127.0.0.1:0")))
	k.has(2)
	require.Len(t, k.heard(), 2)
	require.Len(t, socketsOf(t, p.PID()), 3)
}

func TestASocketThatWasBoundBeforeRunIsStoredToo(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), proctest.ShortDir(t)
	args := []string{"at=tcp,127.0.0.1:0", "early=", "pidfile=" + filepath.Join(dir, "x.pid")}
	p := k.serve(args...)
	k.awaitReady(p)
	require.Equal(t, []string{"tcp:127.0.0.1:0"}, k.has(1))
	where := listensAt(t, p, "tcp,127.0.0.1:0")
	p.Signal(syscall.SIGKILL)
	p.Wait()
	p = k.serve(args...)
	k.awaitReady(p)
	require.Equal(t, where, listensAt(t, p, "tcp,127.0.0.1:0"))
}

func TestAStoredSocketThatIsNotRequestedIsClosed(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), proctest.ShortDir(t)
	p := k.serve("at=tcp,127.0.0.1:0", "at=unix,"+dir+"/a", "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	p.Signal(syscall.SIGKILL)
	p.Wait()
	k.has(2)
	p = k.serve("at=unix,"+dir+"/a", "pidfile="+filepath.Join(dir, "x.pid"))
	p.Await(`msg="closed inherited sockets that the program does not use" sockets=[tcp:127.0.0.1:0]`)
	require.Equal(t, []string{"unix:" + dir + "/a"}, k.has(1))
}

// If the name differs, Listen finds the socket by its address.
func TestAStoredSocketIsFoundByItsAddressToo(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), proctest.ShortDir(t)
	p := k.serve("at=tcp,127.0.0.1:0", "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	where := listensAt(t, p, "tcp,127.0.0.1:0")
	p.Signal(syscall.SIGKILL)
	p.Wait()
	p = k.serve("at=tcp,"+where, "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	require.Equal(t, p.PID(), whoServes(t, "tcp", where))
	require.Equal(t, []string{"tcp:127.0.0.1:0"}, k.has(1))
}

func TestNoMoreSocketsAreStoredThanTheManagerKeeps(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	for room, kept := range map[string]int{"1": 1, "0": 0, "": 0, "x": 0, "-1": 0} {
		cmd := proctest.Command(serving, "at=tcp,127.0.0.1:0", "at=tcp,127.0.0.1:0", "start=children", "pidfile="+proctest.PIDPath(t))
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+k.server.Address, "FDSTORE="+room)
		p := proctest.Launch(t, cmd)
		k.awaitReady(p)
		require.Len(t, k.heard(), kept)
		require.Equal(t, kept, p.Out.Count(`msg="the service manager has no room to store another socket" most=1 network=tcp address=127.0.0.1:0`))
		require.NotContains(t, p.Out.String(), "FDSTORE=")
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
		k.drop(func(activation.Socket) bool { return true })
	}
}

// A socket that no manager keeps ends with its life, including its file.
func TestCloseRemovesASocketFileThatNoManagerKeeps(t *testing.T) {
	t.Parallel()
	dir := proctest.ShortDir(t)
	m := proctest.ManagerAt(t, filepath.Join(dir, "manager"))
	cmd := proctest.Command(serving, "at=unix,"+dir+"/s", "pidfile="+filepath.Join(dir, "x.pid"))
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+filepath.Join(dir, "manager"))
	p := proctest.Launch(t, cmd)
	require.NotContains(t, strings.Join(m.Await("READY=1"), "\n"), "FD")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	require.NoFileExists(t, dir+"/s")
}

// Clients that connect while the process is replaced must wait. Only connections that the killed
// process had accepted are lost.
func TestUnderLoadAKillRefusesNoConnection(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), proctest.ShortDir(t)
	path := filepath.Join(dir, "s")
	args := []string{"at=tcp,127.0.0.1:0", "at=unix," + path, "pidfile=" + filepath.Join(dir, "x.pid")}
	p := k.serve(args...)
	k.awaitReady(p)
	where := listensAt(t, p, "tcp,127.0.0.1:0")

	var answered, cut atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 6 {
		network, at := "tcp", where
		if i%2 == 1 {
			network, at = "unix", path
		}
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.DialTimeout(network, at, proctest.Patience)
				// EAGAIN: the backlog of a unix socket is full (connect(2)).
				if errors.Is(err, syscall.EAGAIN) {
					continue
				}
				if err != nil {
					t.Errorf("connecting: %v", err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(proctest.Patience))
				if text, err := io.ReadAll(c); err != nil || len(text) == 0 {
					cut.Add(1)
				} else {
					answered.Add(1)
				}
				c.Close()
			}
		})
	}
	for range 5 {
		before := answered.Load()
		proctest.Eventually(t, func() bool { return answered.Load() > before+50 }, "connections to be answered")
		p.Signal(syscall.SIGKILL)
		p.Wait()
		p = k.serve(args...)
		k.awaitReady(p)
	}
	close(stop)
	clients.Wait()
	t.Logf("%d connections answered, %d cut, none refused", answered.Load(), cut.Load())
	require.Positive(t, answered.Load())
}

// awaitRefusal waits until no process listens at the address. A process that another test starts
// has copies of all our descriptors until it executes its program.
func awaitRefusal(t *testing.T, network, address string) {
	t.Helper()
	proctest.Eventually(t, func() bool {
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "nobody to listen at %s", address)
}
