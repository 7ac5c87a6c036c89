package sdnotify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// hangingFile returns a file in a FUSE file system that stops answering once the file is open,
// until the test ends.
func hangingFile(t *testing.T) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("this test needs root, which this machine lacks")
	}
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("there is no FUSE here: ", err)
	}
	dir := t.TempDir()
	if err := unix.Mount("test", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device)); err != nil {
		unix.Close(device)
		t.Skip("FUSE cannot be mounted here: ", err)
	}
	var hangs atomic.Bool
	over := make(chan struct{})
	go func() {
		defer close(over)
		request := make([]byte, 1<<17)
		for {
			n, err := unix.Read(device, request)
			if err == unix.EINTR {
				continue
			}
			if err != nil { // unmounted
				return
			}
			if !hangs.Load() {
				_, _ = unix.Write(device, answer(request[:n]))
			}
		}
	}()
	// os.Open cannot be used: its epoll_ctl(2) would call the file system while this process cannot
	// run the goroutine that answers.
	fd, err := unix.Open(filepath.Join(dir, "file"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "file")
	hangs.Store(true)
	t.Cleanup(func() {
		require.NoError(t, unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH)) // requests fail
		f.Close()
		<-over
		unix.Close(device)
	})
	return f
}

// answer returns the answer to a request of linux/fuse.h. Every name is a file.
func answer(request []byte) []byte {
	order := binary.NativeEndian
	attr := make([]byte, 88)
	order.PutUint64(attr, 2)                       // ino
	order.PutUint32(attr[60:], unix.S_IFREG|0o644) // mode
	order.PutUint32(attr[64:], 1)                  // nlink
	var body []byte
	errno := int32(0)
	switch order.Uint32(request[4:]) {
	case 26: // INIT
		body = make([]byte, 64)
		order.PutUint32(body, 7)
		order.PutUint32(body[4:], 31)
		order.PutUint32(body[20:], 4096) // max_write
	case 1: // LOOKUP
		body = append(make([]byte, 40), attr...)
		order.PutUint64(body, 2) // nodeid
	case 3: // GETATTR
		if order.Uint64(request[16:]) == 1 { // the root
			order.PutUint32(attr[60:], unix.S_IFDIR|0o755)
		}
		body = append(make([]byte, 16), attr...)
	case 14: // OPEN
		body = make([]byte, 16)
	default:
		errno = -int32(unix.ENOSYS)
	}
	var out bytes.Buffer
	_ = binary.Write(&out, order, uint32(16+len(body)))
	_ = binary.Write(&out, order, errno)
	out.Write(request[8:16]) // unique
	out.Write(body)
	return out.Bytes()
}

// close(2), fstat(2) and epoll_ctl(2) of such a file do not return.
func TestFilesOfAHangingFileSystemDoNotBlockAServer(t *testing.T) {
	for what, trusted := range map[string]bool{"of a stranger": false, "of the service": true} {
		t.Run(what, func(t *testing.T) {
			f := hangingFile(t)
			s := serve(t)
			s.trusts.Store(trusted)
			c := s.dial()
			fd, err := descriptor(f)
			require.NoError(t, err)
			require.NoError(t, unix.SetNonblock(fd, true))
			for range 3 * maxClosing {
				require.NoError(t, c.SendFiles([]*os.File{f}, "FDSTORE=1"))
				if trusted {
					m := <-s.heard
					require.Empty(t, m.Files)
					require.Equal(t, 1, m.Refused)
				}
			}
			s.requireHears()
			discards.mu.Lock()
			require.Equal(t, maxClosing, discards.closing)
			discards.mu.Unlock()
		})
	}
}
