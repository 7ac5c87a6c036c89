//go:build unix

package rawconn_test

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/rawconn"
)

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestAnInterruptedCallIsRepeated(t *testing.T) {
	r, w := pipe(t)
	var calls int
	interrupted := func(int) error {
		if calls++; calls%3 != 0 {
			return syscall.EINTR
		}
		return errors.ErrUnsupported
	}
	require.ErrorIs(t, rawconn.Control(r, interrupted), errors.ErrUnsupported)
	require.ErrorIs(t, rawconn.Read(r, interrupted), errors.ErrUnsupported)
	require.ErrorIs(t, rawconn.Write(w, interrupted), errors.ErrUnsupported)
	require.Equal(t, 9, calls)
}

func TestReadWaitsUntilThereIsData(t *testing.T) {
	r, w := pipe(t)
	tried := make(chan struct{}, 10)
	go func() {
		<-tried
		_, _ = w.WriteString("x")
	}()
	var n int
	require.NoError(t, rawconn.Read(r, func(fd int) (err error) {
		n, err = syscall.Read(fd, make([]byte, 10))
		tried <- struct{}{}
		return err
	}))
	require.Equal(t, 1, n)
}

func TestADeadlineEndsTheWait(t *testing.T) {
	r, _ := pipe(t)
	require.NoError(t, r.SetReadDeadline(time.Now()))
	require.ErrorIs(t, rawconn.Read(r, func(int) error { return syscall.EAGAIN }), os.ErrDeadlineExceeded)
}

func TestAFileThatIsClosedHasNoDescriptor(t *testing.T) {
	r, w := pipe(t)
	r.Close()
	w.Close()
	never := func(int) error { panic("it was called") }
	require.Error(t, rawconn.Control(r, never))
	require.Error(t, rawconn.Read(r, never))
	require.Error(t, rawconn.Write(w, never))
}
