package pin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

var ways = map[string]func(int) (process, error){
	"pidfd":          hold,
	"blocking pidfd": holdBlocking,
	"proc":           holdByProc,
}

// holdBlocking opens a pidfd in blocking mode, which Go's poller does not accept.
func holdBlocking(pid int) (process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return hold(pid)
	}
	return newPidfd(fd), nil
}

// holdBare pins a process without a pidfd and without /proc.
func holdBare(pid int) (process, error) {
	return bare(pid), orDone(unix.Kill(pid, 0))
}

func init() {
	programs["main thread ends"] = endMainThread
	programs["filtered"] = openFiltered
	if os.Getenv(programVar) == "main thread ends" {
		runtime.LockOSThread() // in an init, this binds the main goroutine to the main thread
	}
}

// endMainThread prints a line when only the other threads of the process remain, and then its
// signals.
func endMainThread([]string) error {
	go func() {
		for {
			stat, err := os.ReadFile("/proc/self/stat")
			if err == nil && strings.Contains(string(stat), ") Z ") {
				break
			}
			runtime.Gosched()
		}
		_ = printSignals(nil)
	}()
	_, _, errno := syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0)
	return errno
}

// openFiltered makes seccomp return the error number in args for pidfd_open. It pins its parent,
// and prints the kind of the pin.
func openFiltered(args []string) error {
	errno, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PIDFD_OPEN, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&prog)))
	if failed != 0 {
		return os.NewSyscallError("seccomp", failed)
	}
	p, err := Open(os.Getppid())
	if err != nil {
		return err
	}
	fmt.Printf("%T %v\n", p.proc, p.Signal(syscall.Signal(0)))
	return nil
}

func TestOpenWorksWithoutPidfd(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.ENOSYS, unix.EPERM, unix.EINVAL} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			c := start(t, program("filtered", strconv.Itoa(int(errno))))
			require.Equal(t, "pin.procStat <nil>", c.line())
		})
	}
}

func TestOpenUsesAPidfdIfThereIsOne(t *testing.T) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Skip("this kernel, or a filter, has no pidfd_open:", err)
	}
	require.NoError(t, unix.Close(fd))

	proc, err := hold(os.Getpid())
	require.NoError(t, err)
	defer proc.close()
	require.IsType(t, pidfd{}, proc)
	file := proc.(pidfd).file
	require.NoError(t, file.SetReadDeadline(time.Time{}), "the descriptor is in Go's poller")
	require.NoError(t, rawconn.Control(file, func(fd int) error {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		require.NotZero(t, flags&unix.FD_CLOEXEC)
		return err
	}))
}

func TestAProcessWhoseMainThreadEndedIsAlive(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		c := start(t, program("main thread ends"))
		require.Equal(t, "ready", c.line())
		p := mustOpen(t, open, c.Process.Pid)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.Equal(t, context.Canceled, p.Wait(ctx))
		require.NoError(t, p.Signal(syscall.SIGUSR1))
		require.Equal(t, "SIGUSR1", c.line())
		require.NoError(t, p.Signal(syscall.SIGKILL))
		require.NoError(t, p.Wait(patience(t)))
	})
}

func TestAThreadIDIsNotAProcess(t *testing.T) {
	tids, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	require.Greater(t, len(tids), 1)
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		for _, tid := range tids {
			n, err := strconv.Atoi(tid.Name())
			require.NoError(t, err)
			if n == os.Getpid() {
				continue
			}
			_, err = open(n)
			require.ErrorIs(t, err, os.ErrProcessDone)
		}
	})
}

func TestOpenUsesKillWithoutPidfdAndProc(t *testing.T) {
	c := startSignals(t)
	p, err := openBy(holdBare, c.Process.Pid)
	require.NoError(t, err)
	require.NoError(t, p.Signal(syscall.SIGUSR1))
	require.Equal(t, "SIGUSR1", c.line())

	ended := make(chan error, 1)
	go func() { ended <- p.Wait(patience(t)) }()
	c.kill()
	require.NoError(t, <-ended)
	require.ErrorIs(t, p.Signal(syscall.SIGUSR1), os.ErrProcessDone)
	require.NoError(t, p.Close())
	require.ErrorIs(t, p.Signal(syscall.SIGUSR1), os.ErrClosed)
}

func TestCloseLeavesNoDescriptor(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		c := startSignals(t)
		first := mustOpen(t, open, c.Process.Pid)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.Equal(t, context.Canceled, first.Wait(ctx)) // Go's poller opens descriptors
		require.NoError(t, first.Close())
		before := descriptors(t)

		p := mustOpen(t, open, c.Process.Pid)
		for range 1000 {
			require.Equal(t, context.Canceled, p.Wait(ctx))
		}
		awaitDescriptors(t, before+1)
		require.NoError(t, p.Close())
		awaitDescriptors(t, before)

		for range 100 {
			p := mustOpen(t, open, c.Process.Pid)
			go func() { _ = p.Wait(context.Background()) }()
			require.NoError(t, p.Close())
		}
		awaitDescriptors(t, before)
	})
}

// awaitDescriptors waits until want descriptors are open. Goroutines that are ending close their
// descriptors later.
func awaitDescriptors(t testing.TB, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return descriptors(t) == want }, slow, time.Millisecond)
}

func descriptors(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(fds)
}

func TestZombieReadsTheStatWithAnyName(t *testing.T) {
	rest := func(state string, threads int) string {
		return ") " + state + strings.Repeat(" 1", 16) + " " + strconv.Itoa(threads) + " 0 100\n"
	}
	for _, name := range []string{"a", "a b", ") Z 1", "(", "x) X"} {
		for _, tt := range []struct {
			state   string
			threads int
			want    bool
		}{{"S", 1, false}, {"R", 8, false}, {"Z", 1, true}, {"Z", 0, true}, {"Z", 2, false}, {"X", 0, true}} {
			got, err := zombie([]byte("7 (" + name + rest(tt.state, tt.threads)))
			require.NoError(t, err)
			require.Equal(t, tt.want, got, "%q %v", name, tt)
		}
	}
	for _, stat := range []string{"", "7 (a) Z", "7 (a", ")"} {
		_, err := zombie([]byte(stat))
		require.Error(t, err, "%q", stat)
	}
}

func TestHasOpenReportsAnOpenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	p, err := Open(os.Getpid())
	require.NoError(t, err)
	defer p.Close()

	has, err := p.HasOpen(info)
	require.NoError(t, err)
	require.True(t, has)
	require.NoError(t, os.Remove(path))
	has, err = p.HasOpen(info)
	require.NoError(t, err)
	require.True(t, has, "the file counts even under another name")
	require.NoError(t, f.Close())
	has, err = p.HasOpen(info)
	require.NoError(t, err)
	require.False(t, has)
}
