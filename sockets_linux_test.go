package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/activation"
	"example.com/lifecycle/internal/sdnotify"
)

// activated is a program that is given sockets as systemd gives them: from descriptor 3 on, for the very process that it is.
func activated(t *testing.T, given []activation.Socket, program string, args ...string) *exec.Cmd {
	t.Helper()
	needs(t, "sh")
	cmd := wrapped([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, program, args...)
	var names []string
	for _, s := range given {
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.File)
		names = append(names, s.Name)
	}
	cmd.Env = append(cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(given)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	return cmd
}

// withFile are the sockets of package net.
type withFile interface {
	io.Closer
	File() (*os.File, error)
}

// unit is a socket unit: it listens, under that name, for whoever is started.
func unit(t *testing.T, name, network, address string) (s activation.Socket, at string) {
	t.Helper()
	var c withFile
	if strings.HasPrefix(network, "udp") || network == "unixgram" {
		p, err := net.ListenPacket(network, address)
		require.NoError(t, err)
		c, at = p.(withFile), p.LocalAddr().String()
	} else {
		l, err := net.Listen(network, address)
		require.NoError(t, err)
		c, at = l.(withFile), l.Addr().String()
	}
	f, err := c.File()
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Close()
		f.Close()
	})
	return activation.Socket{Name: name, File: f}, network + "," + at
}

// socketsOf are the sockets that a process has open, as often as it has.
func socketsOf(t *testing.T, pid int) (all []string) {
	t.Helper()
	for _, target := range afterReady(t, pid) {
		if strings.HasPrefix(target, "socket:") {
			all = append(all, target)
		}
	}
	return all
}

// inode is what /proc calls that socket.
func inode(t *testing.T, f *os.File) string {
	t.Helper()
	info, err := f.Stat()
	require.NoError(t, err)
	return fmt.Sprintf("socket:[%d]", info.Sys().(*syscall.Stat_t).Ino)
}

func address(at string) string { _, a, _ := strings.Cut(at, ","); return a }

// Row E5.
func TestSocketsOfASocketUnitAreTakenAndNotInherited(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	var given []activation.Socket
	var asked []string
	for i, at := range []string{
		"tcp,127.0.0.1:0", "tcp,[::]:0", "unix," + dir + "/stream", "unix,@" + filepath.Base(dir), "unixpacket," + dir + "/packets", "udp,127.0.0.1:0", "unixgram," + dir + "/datagrams",
	} {
		network, where, _ := strings.Cut(at, ",")
		s, at := unit(t, fmt.Sprintf("%d.socket", i), network, where)
		given, asked = append(given, s), append(asked, at)
	}
	asked[1] = strings.Replace(asked[1], "[::]", "", 1)
	notAsked, _ := unit(t, "other.socket", "tcp", "127.0.0.1:0")
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	given = append(given, notAsked, activation.Socket{Name: "fifo", File: r})

	p := launch(t, activated(t, given, serving, append(at(asked...), "pidfile="+pidPath(t), "start=children")...))
	p.await("msg=ready")
	for _, at := range []int{0, 2, 3, 4} {
		network, where, _ := strings.Cut(asked[at], ",")
		require.Equal(t, p.pid(), whoServes(t, network, where))
	}
	c, err := net.Dial("udp", address(asked[5]))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("who?"))
	require.NoError(t, err)
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(p.pid()), string(buf[:n]))

	p.await(`msg="closed sockets that were given and that nobody has asked for" sockets=[other.socket]`)
	var want []string
	for _, s := range given[:len(asked)] {
		want = append(want, inode(t, s.File))
	}
	slices.Sort(want)
	require.Equal(t, want, socketsOf(t, p.pid()), "each once")
	require.NotContains(t, p.out.String(), "LISTEN_")
	require.Contains(t, p.out.String(), programVariable+"="+serving, "its environment")
	for i := range given[1:] { // 3 is the folder that ls reads; others may come from whoever has called the test
		require.NotRegexp(t, fmt.Sprintf(`(?m)^descriptors:.* %d( |$)`, 4+i), p.out.String())
	}

	p.signal(syscall.SIGHUP) // which closes what is given and asks for it again
	p.await("msg=reloaded")
	require.Equal(t, p.pid(), whoServes(t, "tcp", address(asked[0])))
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	for _, at := range []string{"/stream", "/packets", "/datagrams"} {
		require.FileExists(t, dir+at, "it belongs to the unit")
	}
}

// Row E5.
func TestSocketsOfAnotherProcessAreNotTaken(t *testing.T) {
	t.Parallel()
	s, at := unit(t, "other.socket", "tcp", "127.0.0.1:0")
	cmd := command(serving, "pidfile="+pidPath(t), "at="+at, "start=children")
	cmd.ExtraFiles = []*os.File{s.File}
	cmd.Env = append(cmd.Env, "LISTEN_PID="+fmt.Sprint(os.Getpid()), "LISTEN_FDS=1")
	p := launch(t, cmd)
	require.Equal(t, 1, p.wait())
	require.Contains(t, p.out.String(), "bind: address already in use")

	cmd = command(serving, "pidfile="+pidPath(t), "never=", "start=children")
	cmd.Env = append(cmd.Env, "LISTEN_PID="+fmt.Sprint(os.Getpid()), "LISTEN_FDS=1", "LISTEN_FDNAMES=x", "LISTEN_PIDFDID=1")
	p = launch(t, cmd)
	p.await("msg=ready")
	require.Contains(t, p.out.String(), programVariable+"="+serving)
	require.NotContains(t, p.out.String(), "LISTEN_")
}

// A program that knows LISTEN_FDS by itself, or that listens as late as in fn, is not robbed of them.
// Row E5.
func TestSocketsStayOpenWhereNobodyHasCalledListenUntilReady(t *testing.T) {
	t.Parallel()
	s, asked := unit(t, "a.socket", "tcp", "127.0.0.1:0")
	p := launch(t, activated(t, []activation.Socket{s}, serving, "pidfile="+pidPath(t), "never="))
	p.await(`msg="sockets were given and stay open, though nobody has called Listen before the bodies" sockets=[a.socket]`)
	require.Equal(t, []string{inode(t, s.File)}, socketsOf(t, p.pid()))

	p = launch(t, activated(t, []activation.Socket{s}, serving, "pidfile="+pidPath(t), "late=", "at="+asked))
	p.await("listens ")
	require.Equal(t, p.pid(), whoServes(t, "tcp", address(asked)))
}

// Row E5.
func TestADetachedDaemonTakesTheSocketsOfItsLauncher(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	var given []activation.Socket
	var asked, want []string
	for i := range 40 {
		s, at := unit(t, fmt.Sprintf("%d.socket", i), "tcp", "127.0.0.1:0")
		given, asked, want = append(given, s), append(asked, at), append(want, inode(t, s.File))
	}
	cmd := activated(t, given, serving, b.args(append(at(asked...), "start=children", "start")...)...)
	pid := b.readied(runCommand(t, cmd))
	for _, at := range asked[:3] {
		require.Equal(t, pid, whoServes(t, "tcp", address(at)))
	}
	slices.Sort(want)
	eventually(t, func() bool { return slices.Equal(want, socketsOf(t, pid)) }, "the daemon to have each socket once")
	require.NotContains(t, b.said(), "LISTEN_")
	require.Contains(t, b.said(), "descriptors: 0 1 2 3\n", "3 is the folder that ls reads")
	b.stop()

	// Without a PID file there is no lock before them.
	cmd = activated(t, given[:1], serving, "log="+b.log, "at="+asked[0], "start")
	pid = b.readied(runCommand(t, cmd))
	require.Equal(t, pid, whoServes(t, "tcp", address(asked[0])))
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	eventually(t, func() bool {
		open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)) // a zombie has none
		return len(open) == 0
	}, "pid %d to end", pid)
}

// A launcher that has listened before Run is told so of a given socket too.
func TestASocketThatTheLauncherHasAskedForIsAnErrorToo(t *testing.T) {
	t.Parallel()
	s, asked := unit(t, "a.socket", "tcp", "127.0.0.1:0")
	got := runCommand(t, activated(t, []activation.Socket{s}, serving, "pidfile="+pidPath(t), "log=", "early=", "at="+asked, "start"))
	require.Regexp(t, `^\w+: start failed: Listen\(tcp, `+address(asked)+`\) at sockets_test\.go:\d+ was called before Run`, got.stderr)
	require.Equal(t, 1, got.code)
}

// keeper is a service manager that keeps sockets for the next process.
type keeper struct {
	t      *testing.T
	server *sdnotify.Server

	mu    sync.Mutex
	kept  []activation.Socket
	said  []string     // lines about sockets
	ready map[int]bool // processes that have said so
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

// has waits until it keeps that many sockets, and returns what they are known by.
func (k *keeper) has(n int) (keys []string) {
	k.t.Helper()
	eventually(k.t, func() bool {
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

// heard are the lines about sockets since it was asked last.
func (k *keeper) heard() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	said := k.said
	k.said = nil
	return said
}

// awaitReady waits until it has heard everything from a process until that was ready.
func (k *keeper) awaitReady(p *process) {
	k.t.Helper()
	p.await("msg=ready")
	eventually(k.t, func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.ready[p.pid()]
	}, "READY=1 of pid %d", p.pid())
}

// serve starts the program serving with what is kept.
func (k *keeper) serve(args ...string) *process {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock() // nothing is closed meanwhile
	cmd := activated(k.t, k.kept, serving, args...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+k.server.Address, "FDSTORE=16")
	return launch(k.t, cmd)
}

func TestWhatWasBoundIsKeptAndComesBackAfterACrash(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), shortDir(t)
	path := filepath.Join(dir, "s")
	args := append(at("tcp,127.0.0.1:0", "tcp,127.0.0.1:0", "unix,"+path, "unix,@"+filepath.Base(dir), "udp,127.0.0.1:0"), "pidfile="+filepath.Join(dir, "x.pid"))
	keys := []string{"tcp:127.0.0.1:0", "2:tcp:127.0.0.1:0", "unix:" + path, "unix:@" + filepath.Base(dir), "udp:127.0.0.1:0"}
	var first string
	for try := range 3 {
		p := k.serve(args...)
		k.awaitReady(p)
		require.Equal(t, keys, k.has(5))
		listens := onlyLines(p.out.String(), "listens ")
		if try == 0 {
			first = listens
			require.Equal(t, "FDSTORE=1 FDPOLL=0 FDNAME=tcp%3A127.0.0.1%3A0", k.heard()[0])
		}
		require.Equal(t, first, listens, "the same ports in the same order")
		require.Empty(t, k.heard(), "what was kept is not given again")
		require.Equal(t, p.pid(), whoServes(t, "unix", path))
		require.Equal(t, p.pid(), whoServes(t, "tcp", p.where("tcp,127.0.0.1:0")))
		require.Len(t, socketsOf(t, p.pid()), 6, "with that to the manager")
		require.NotContains(t, p.out.String(), "closed sockets")
		p.signal(syscall.SIGKILL)
		p.wait()
	}
}

// onlyLines are the lines of a text that begin so.
func onlyLines(text, begin string) (found string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, begin) {
			found += line
		}
	}
	return found
}

func TestAStopLeavesSocketsToTheNextProcess(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), shortDir(t)
	path := filepath.Join(dir, "s")
	for range 2 {
		p := k.serve("at=unix,"+path, "at=tcp,127.0.0.1:0", "pidfile="+filepath.Join(dir, "x.pid"))
		k.awaitReady(p)
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.wait())
		require.Equal(t, []string{"unix:" + path, "tcp:127.0.0.1:0"}, k.has(2))
		require.FileExists(t, path)
	}
	// Where the manager loses them, the file is a dead one.
	k.drop(func(activation.Socket) bool { return true })
	awaitRefusal(t, "unix", path)
	p := k.serve("at=unix,"+path, "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	require.Equal(t, p.pid(), whoServes(t, "unix", path))
	require.Len(t, k.heard(), 3, "nothing was removed")
}

func TestAFailedStartLeavesSocketsToTheNextProcess(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), shortDir(t)
	args := []string{"at=tcp,127.0.0.1:0", "pidfile=" + filepath.Join(dir, "x.pid")}
	require.Equal(t, 1, k.serve(append(args, "start=error")...).wait())
	k.has(1)
	p := k.serve(args...)
	k.awaitReady(p)
	require.Len(t, k.heard(), 1)
}

func TestASocketThatIsClosedWhileReadyIsNotKeptAnyMore(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), shortDir(t)
	path := filepath.Join(dir, "s")
	p := k.serve("at=unix,"+path, "at=tcp,127.0.0.1:0", "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	k.has(2)
	k.heard()
	p.signal(syscall.SIGUSR2)
	p.await("closed")
	k.has(0)
	require.Equal(t, []string{"FDSTOREREMOVE=1 FDNAME=" + activation.Name("unix:"+path), "FDSTOREREMOVE=1 FDNAME=tcp%3A127.0.0.1%3A0"}, k.heard())
	require.NoFileExists(t, path)
	awaitRefusal(t, "tcp", p.where("tcp,127.0.0.1:0"))
	require.Len(t, socketsOf(t, p.pid()), 1, "that to the manager")
}

// A manager may take its time to let go of what is closed, and until then it cannot be bound.
func TestAReloadMayListenAgainWhereAManagerKeepsSockets(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), shortDir(t)
	probe, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	require.NoError(t, err)
	at := "tcp," + probe.Addr().String()
	require.NoError(t, probe.Close())
	path := filepath.Join(dir, "s")
	args := []string{"at=" + at, "at=unix," + path, "pidfile=" + filepath.Join(dir, "x.pid")}
	var said []string
	for _, all := range []int{2 + 4, 0 + 4} { // bound the first time, given the second
		p := k.serve(args...)
		k.awaitReady(p)
		p.signal(syscall.SIGHUP)
		p.await("msg=reloaded")
		require.Equal(t, p.pid(), whoServes(t, "tcp", address(at)))
		require.Equal(t, p.pid(), whoServes(t, "unix", path))
		eventually(t, func() bool {
			said = append(said, k.heard()...)
			return len(said) == all
		}, "%d words about sockets", all)
		said = nil
		k.has(2)
		p.signal(syscall.SIGKILL)
		p.wait()
	}
}

func TestASocketMayBeClosedAndAskedForAgainDuringTheStart(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), shortDir(t)
	path := filepath.Join(dir, "s")
	p := k.serve("at=unix,"+path, "at=tcp,127.0.0.1:0", "twice=", "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	require.Equal(t, p.pid(), whoServes(t, "unix", path))
	require.Equal(t, p.pid(), whoServes(t, "tcp", p.where("tcp,127.0.0.1:0")))
	k.has(2)
	require.Len(t, k.heard(), 2)
	require.Len(t, socketsOf(t, p.pid()), 3)
}

func TestWhatWasBoundBeforeRunIsKeptToo(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), shortDir(t)
	args := []string{"at=tcp,127.0.0.1:0", "early=", "pidfile=" + filepath.Join(dir, "x.pid")}
	p := k.serve(args...)
	k.awaitReady(p)
	require.Equal(t, []string{"tcp:127.0.0.1:0"}, k.has(1))
	where := p.where("tcp,127.0.0.1:0")
	p.signal(syscall.SIGKILL)
	p.wait()
	p = k.serve(args...)
	k.awaitReady(p)
	require.Equal(t, where, p.where("tcp,127.0.0.1:0"))
}

func TestAKeptSocketThatNobodyAsksForIsGivenUp(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), shortDir(t)
	p := k.serve("at=tcp,127.0.0.1:0", "at=unix,"+dir+"/a", "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	p.signal(syscall.SIGKILL)
	p.wait()
	k.has(2)
	p = k.serve("at=unix,"+dir+"/a", "pidfile="+filepath.Join(dir, "x.pid"))
	p.await(`msg="closed sockets that were given and that nobody has asked for" sockets=[tcp:127.0.0.1:0]`)
	require.Equal(t, []string{"unix:" + dir + "/a"}, k.has(1))
}

// What is asked for in other words than before is found by where it is bound.
func TestAKeptSocketIsFoundByItsAddressToo(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), shortDir(t)
	p := k.serve("at=tcp,127.0.0.1:0", "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	where := p.where("tcp,127.0.0.1:0")
	p.signal(syscall.SIGKILL)
	p.wait()
	p = k.serve("at=tcp,"+where, "pidfile="+filepath.Join(dir, "x.pid"))
	k.awaitReady(p)
	require.Equal(t, p.pid(), whoServes(t, "tcp", where))
	require.Equal(t, []string{"tcp:127.0.0.1:0"}, k.has(1))
}

func TestAManagerIsGivenNoMoreSocketsThanItKeeps(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	for room, kept := range map[string]int{"1": 1, "0": 0, "": 0, "x": 0, "-1": 0} {
		cmd := command(serving, "at=tcp,127.0.0.1:0", "at=tcp,127.0.0.1:0", "start=children", "pidfile="+pidPath(t))
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+k.server.Address, "FDSTORE="+room)
		p := launch(t, cmd)
		k.awaitReady(p)
		require.Len(t, k.heard(), kept)
		require.Equal(t, kept, p.out.count(`msg="the service manager keeps no more sockets" most=1 network=tcp address=127.0.0.1:0`))
		require.NotContains(t, p.out.String(), "FDSTORE=")
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.wait())
		k.drop(func(activation.Socket) bool { return true })
	}
}

// A socket that no manager keeps ends with its life, socket file and all.
func TestASocketFileThatNobodyKeepsIsRemovedByClose(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	m := managerAt(t, filepath.Join(dir, "manager"))
	cmd := command(serving, "at=unix,"+dir+"/s", "pidfile="+filepath.Join(dir, "x.pid"))
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+filepath.Join(dir, "manager"))
	p := launch(t, cmd)
	require.NotContains(t, strings.Join(m.await("READY=1"), "\n"), "FD")
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	require.NoFileExists(t, dir+"/s")
}

// Whoever connects while the process is being replaced waits; only those whom it had accepted lose their connection.
func TestUnderLoadAKillRefusesNoConnection(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), shortDir(t)
	path := filepath.Join(dir, "s")
	args := []string{"at=tcp,127.0.0.1:0", "at=unix," + path, "pidfile=" + filepath.Join(dir, "x.pid")}
	p := k.serve(args...)
	k.awaitReady(p)
	where := p.where("tcp,127.0.0.1:0")

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
				c, err := net.DialTimeout(network, at, patienceOfTests)
				if errors.Is(err, syscall.EAGAIN) { // connect(2): the backlog of a unix socket is full
					continue
				}
				if err != nil {
					t.Errorf("connecting: %v", err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(patienceOfTests))
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
		eventually(t, func() bool { return answered.Load() > before+50 }, "connections to be answered")
		p.signal(syscall.SIGKILL)
		p.wait()
		p = k.serve(args...)
		k.awaitReady(p)
	}
	close(stop)
	clients.Wait()
	t.Logf("%d connections answered, %d cut, none refused", answered.Load(), cut.Load())
	require.Positive(t, answered.Load())
}
