package sdnotify

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOnlyADescriptorThatCannotHangIsKept(t *testing.T) {
	t.Parallel()
	open := func(path string, flags int) int {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	made := func(fd int, err error) int {
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	made(p[1], nil)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	for what, tt := range map[string]struct {
		fd   int
		kept bool
	}{
		"a socket":       {made(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)), true},
		"a pipe":         {made(p[0], nil), true},
		"a memfd":        {made(unix.MemfdCreate("x", unix.MFD_CLOEXEC)), true},
		"an eventfd":     {made(unix.Eventfd(0, unix.EFD_CLOEXEC)), true},
		"a named pipe":   {open(fifo, unix.O_RDONLY|unix.O_NONBLOCK), false},
		"a pidfd":        {made(unix.PidfdOpen(os.Getpid(), 0)), false},
		"an epoll":       {made(unix.EpollCreate1(unix.EPOLL_CLOEXEC)), false},
		"a directory":    {open("/", unix.O_RDONLY|unix.O_DIRECTORY), false},
		"a device":       {open(os.DevNull, unix.O_RDWR), false},
		"a path":         {open("/", unix.O_PATH), false},
		"a file of proc": {open("/proc/self/status", unix.O_RDONLY), false},
		"nothing":        {-1, false},
	} {
		require.Equal(t, tt.kept, canBeKept(tt.fd), what)
	}
}

func TestARegularFileOfALocalFileSystemIsKept(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/dev/shm", "kept")
	if err != nil {
		t.Skip("needs /dev/shm, a local file system: ", err)
	}
	defer os.RemoveAll(dir)
	f, err := os.Create(filepath.Join(dir, "file"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, CanKeep(f))
	require.NoError(t, os.Remove(f.Name()))
	require.NoError(t, CanKeep(f), "it was deleted")
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	require.EqualError(t, CanKeep(d), "it is not a socket, a pipe, an eventfd, a memory file, or a regular file of a local file system")
}

// A pidfd in this process would be a claim to the child, and package reaper would then not reap the
// child.
func TestAPidfdFromAnySenderIsClosedAtOnce(t *testing.T) {
	for what, trusted := range map[string]bool{"of a stranger": false, "of the service": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s, err := Listen()
			require.NoError(t, err)
			defer s.Close()
			s.trusts = func(int) bool { return trusted }
			c, err := Dial(s.Address)
			require.NoError(t, err)
			defer c.Close()
			process := exec.Command("sleep", "60")
			require.NoError(t, process.Start())
			defer func() { require.Error(t, process.Wait()) }()
			defer func() { require.NoError(t, process.Process.Kill()) }()
			pidfd, err := unix.PidfdOpen(process.Process.Pid, 0)
			require.NoError(t, err)
			f := os.NewFile(uintptr(pidfd), "pidfd")
			before := pidfdsOf(t, process.Process.Pid)
			require.NoError(t, c.SendFiles([]*os.File{f}, "FDSTORE=1"))
			require.NoError(t, f.Close())
			require.Equal(t, before-1, pidfdsOf(t, process.Process.Pid))
			m, err := s.next()
			require.Equal(t, trusted, err == nil)
			require.Empty(t, m.Files)
			require.Equal(t, before-1, pidfdsOf(t, process.Process.Pid))
		})
	}
}

// pidfdsOf returns how many pidfds of that process this process has.
func pidfdsOf(t *testing.T, pid int) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fdinfo")
	require.NoError(t, err)
	for _, e := range entries {
		text, _ := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		if strings.Contains(string(text), fmt.Sprintf("\nPid:\t%d\n", pid)) {
			n++
		}
	}
	return n
}
