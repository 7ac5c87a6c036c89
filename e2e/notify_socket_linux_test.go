package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/sdnotify"
)

// hoarder is a program that asks its service manager to store unsuitable descriptors. Each argument
// is a step:
//
//	bind:PATH   a socket with that file, and takes it back
//	linger      a socket for which close(2) sleeps, and takes it back
//	many        more descriptors than are kept, with long names
//	kinds       descriptors that are no sockets
//	names       prints the names that it was given
var hoarder = proctest.Register("hoarder", func(steps []string) int {
	socket, err := sdnotify.Dial(os.Getenv("NOTIFY_SOCKET"))
	store := func(f *os.File, name string) {
		err = errors.Join(err, socket.SendFiles([]*os.File{f}, "FDSTORE=1", "FDNAME="+name))
		f.Close()
	}
	for _, step := range steps {
		switch step, arg, _ := strings.Cut(step, ":"); step {
		case "bind":
			c, bindErr := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: arg})
			if bindErr != nil {
				fmt.Println(bindErr)
				return 1
			}
			f, _ := c.File()
			store(f, "bound")
			err = errors.Join(err, socket.Send("FDSTOREREMOVE=1", "FDNAME=bound"))
		case "linger":
			f, _, fileErr := lingering()
			err = errors.Join(err, fileErr)
			store(f, "lingers")
			err = errors.Join(err, socket.Send("FDSTOREREMOVE=1", "FDNAME=lingers"))
		case "many":
			for i := range 600 {
				r, _, _ := os.Pipe()
				store(r, strings.Repeat("x", 250)+strconv.Itoa(i))
			}
		case "kinds":
			for _, path := range []string{"/", os.DevNull, "/proc/self/exe"} {
				f, _ := os.Open(path)
				store(f, "path")
			}
			fd, _ := unix.MemfdCreate("memory", 0)
			store(os.NewFile(uintptr(fd), "memory"), "memory")
		case "names":
			names := os.Getenv("LISTEN_FDNAMES")
			fmt.Printf("given %s, %d bytes: %.20s\n", os.Getenv("LISTEN_FDS"), len(names), names)
		}
	}
	fmt.Println("hoarded", errors.Join(err, socket.Send("READY=1")))
	select {}
})

// lingering returns a socket for which close(2) sleeps until its peer is closed.
func lingering() (f *os.File, peer net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	if peer, err = l.Accept(); err != nil {
		return nil, nil, err
	}
	for _ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err == nil; {
		_, err = c.Write(make([]byte, 1<<20))
	}
	f, err = c.(*net.TCPConn).File()
	if err == nil {
		err = unix.SetsockoptLinger(int(f.Fd()), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 30_000})
	}
	return f, peer, err
}

// hoards starts guard with the program hoarder.
func (b *background) hoards(steps ...string) (worker int) {
	b.t.Helper()
	args := append(b.args("supervise=min:-1ns,limit:-1,settle:1h", "start"), "--", "env", proctest.Assignment(hoarder), proctest.Binary())
	b.readied(proctest.Call(b.t, guard, append(args, steps...)...))
	b.awaitSaid("hoarded <nil>\n")
	return b.worker(0)
}

// addressOf returns the address to which a worker sends notifications.
func addressOf(t *testing.T, pid int) string {
	t.Helper()
	for variable := range strings.SplitSeq(string(readFile(t, fmt.Sprintf("/proc/%d/environ", pid))), "\x00") {
		if address, is := strings.CutPrefix(variable, "NOTIFY_SOCKET="); is {
			return address
		}
	}
	t.Fatal("it has no NOTIFY_SOCKET")
	return ""
}

func TestASupervisorLeavesTheSocketFileToTheWorker(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	path := filepath.Join(proctest.ShortDir(t), "s")
	before := b.hoards("bind:" + path)
	require.FileExists(t, path)
	require.NoError(t, os.Remove(path)) // the next worker binds it again
	proctest.Touch(t, path)
	require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
	b.told("it to be started again", func(s lifecycle.Status) bool { return s.Restarts > 0 })
	b.call("stop") // the next worker cannot bind the path, which may be its exit code
	require.FileExists(t, path)
}

func TestALingeringSocketOfTheWorkerDoesNotDelayAStop(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	before := b.hoards("linger", "linger", "linger")
	require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
	b.worker(before)
	b.stop()
	b.requireNothingLeft()
}

func TestStoredDescriptorsOfAWorkerAreLimited(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	before := b.hoards("names", "kinds", "many")
	b.awaitSaid("given , 0 bytes: \n")
	require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
	b.worker(before)
	b.awaitSaid(" bytes: path:memory:xxxxxxxx\n")
	var n, size int
	_, err := fmt.Sscanf(b.said()[strings.LastIndex(b.said(), "given "):], "given %d, %d bytes", &n, &size)
	require.NoError(t, err)
	require.Less(t, size, 32<<10)
	require.Greater(t, n, 100)
	require.Equal(t, 1, strings.Count(b.said(), "cannot store a descriptor of the worker"), "the supervisor logs it once")
	b.stop()
}

func TestMessagesOfOtherProcessesDoNotDelayThoseOfTheWorker(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	first := b.hoards()
	socket, err := sdnotify.Dial(addressOf(t, first))
	require.NoError(t, err)
	defer socket.Close()
	for range 20 {
		f, peer, err := lingering()
		require.NoError(t, err)
		defer peer.Close()
		require.NoError(t, socket.SendFiles([]*os.File{f}, "STOPPING=1", "FDSTORE=1", "STATUS=from a stranger"))
		f.Close()
	}
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	second := b.worker(first)
	require.NotContains(t, b.status().Text, "stranger")
	require.NotEqual(t, first, second)
	b.stop()
}

func TestAFloodOfMessagesOfOtherProcessesDoesNotDelayTheWorker(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	worker := b.hoards()
	parent := b.status().PID
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Connect(fd, &unix.SockaddrUnix{Name: addressOf(t, worker)}))
	flooded := make(chan time.Duration)
	var over atomic.Bool
	go func() {
		begun, junk := time.Now(), []byte(strings.Repeat("\n", 60_000))
		for !over.Load() || time.Since(begun) < time.Second {
			_ = unix.Send(fd, junk, unix.MSG_DONTWAIT)
		}
		flooded <- time.Since(begun)
	}()
	before := cpuOf(t, parent)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	over.Store(true)
	took := <-flooded
	require.Less(t, cpuOf(t, parent)-before, took/3)
	b.stop()
}

// cpuOf returns the CPU time of a process.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat := string(readFile(t, fmt.Sprintf("/proc/%d/stat", pid)))
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	var ticks int
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		require.NoError(t, err)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

func TestTheNotifySocketBelongsToTheWorkersUserAndIsRemoved(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start(atOnce)
	address := addressOf(t, b.worker(0))
	require.True(t, filepath.IsAbs(address), address)
	info, err := os.Stat(address)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	b.stop()
	require.NoDirExists(t, filepath.Dir(address))

	parent := b.start(atOnce)
	address = addressOf(t, b.worker(0))
	require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
	proctest.Eventually(t, func() bool { return b.call("status").Code != 0 }, "the end of all threads of pid %d", parent)
	b.start(atOnce)
	require.NoDirExists(t, filepath.Dir(address), "the next supervisor removes the directory")
	b.stop()
}

func TestOnlyItsUserCanSendToTheNotifySocketOfAProgram(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b := inBackground(t)
	require.NoError(t, os.Chmod(filepath.Dir(b.log), 0o755))
	b.readied(b.guard("exec sleep 60", "user=12345:12345", "start"))
	address := addressOf(t, b.worker(0))
	info, err := os.Stat(address)
	require.NoError(t, err)
	require.EqualValues(t, 12345, info.Sys().(*syscall.Stat_t).Uid)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	b.stop()
	require.NoDirExists(t, filepath.Dir(address))
}
