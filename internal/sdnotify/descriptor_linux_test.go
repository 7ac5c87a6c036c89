package sdnotify

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOnlyADescriptorThatNothingCanHangAtIsKept(t *testing.T) {
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
	for what, tt := range map[string]struct {
		fd   int
		kept bool
	}{
		"a socket":       {made(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)), true},
		"a pipe":         {made(p[0], nil), true},
		"a memfd":        {made(unix.MemfdCreate("x", unix.MFD_CLOEXEC)), true},
		"an eventfd":     {made(unix.Eventfd(0, unix.EFD_CLOEXEC)), true},
		"a directory":    {open("/", unix.O_RDONLY|unix.O_DIRECTORY), false},
		"a device":       {open(os.DevNull, unix.O_RDWR), false},
		"a path":         {open("/", unix.O_PATH), false},
		"a file on disk": {open("/proc/self/exe", unix.O_RDONLY), false},
		"nothing":        {-1, false},
	} {
		require.Equal(t, tt.kept, canBeKept(tt.fd), what)
	}
}
