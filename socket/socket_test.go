package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestListenBindsASocketIfNoneIsInherited(t *testing.T) {
	t.Parallel()
	l, err := Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, c.Close())
	f, err := l.(interface{ File() (*os.File, error) }).File()
	require.NoError(t, err)
	require.NoError(t, f.Close())

	other, err := Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err, "another port")
	require.NotEqual(t, l.Addr().String(), other.Addr().String())
	_, err = Listen("tcp", l.Addr().String())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.EqualError(t, err, "listen tcp "+l.Addr().String()+": bind: address already in use", "the error of package net")
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Close(), net.ErrClosed)
	require.NoError(t, other.Close())

	p, err := ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NotNil(t, p.(interface {
		ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error)
	}))
	_, err = ListenPacket("udp", p.LocalAddr().String())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, p.Close())
	for _, wrong := range []string{"udp", "nonsense", "tcp"} {
		_, err = Listen(wrong, "127.0.0.1:nonsense")
		require.Error(t, err)
	}
	_, err = ListenPacket("tcp", "127.0.0.1:0")
	require.Error(t, err)
}

func TestListenReplacesADeadSocketFileAndRefusesALiveOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "s")
	leaveDead(t, path)
	l, err := Listen("unix", path)
	require.NoError(t, err)
	_, err = Listen("unix", path)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, "this process already listens there")
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)

	foreign, err := net.Listen("unix", path)
	require.NoError(t, err)
	_, err = Listen("unix", path)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.EqualError(t, err, "listen unix "+path+": bind: address already in use: another process listens there")
	_, err = foreign.Accept() // the connection with which Listen checks for a listener
	require.NoError(t, err)
	_, err = ListenPacket("unixgram", path)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.FileExists(t, path)
	require.NoError(t, foreign.Close())

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = Listen("unix", path)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, ": the file is not a socket")
	require.FileExists(t, path)
	require.NoError(t, os.Remove(path))

	for range 2 {
		p, err := ListenPacket("unixgram", path)
		require.NoError(t, err)
		require.NoError(t, p.Close())
		leaveDead(t, path)
	}
}

// leaveDead leaves a socket file without a listener.
func leaveDead(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.FileExists(t, path)
	awaitRefusal(t, "unix", path)
}

// awaitRefusal waits until no process listens at the address. A process that another test starts
// has copies of all descriptors until it executes its program.
func awaitRefusal(t *testing.T, network, address string) {
	t.Helper()
	proctest.Eventually(t, func() bool {
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "no process to listen at %s", address)
}

// shortDir returns a directory whose path is short enough for the address of a socket (unix(7)).
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestCloseDoesNotRemoveASocketFileThatWasReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "s")
	l, err := Listen("unix", path)
	require.NoError(t, err)
	require.NoError(t, os.Rename(path, path+".old"))
	foreign, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer foreign.Close()
	require.NoError(t, l.Close())
	require.FileExists(t, path)
}

func TestAnInheritedSocketIsFoundByItsAddress(t *testing.T) {
	t.Parallel()
	tcp := func(address string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", address)
		require.NoError(t, err)
		return a
	}
	udp := func(address string) net.Addr {
		a, err := net.ResolveUDPAddr("udp", address)
		require.NoError(t, err)
		return a
	}
	for _, tt := range []struct {
		asked, bound string
		at           net.Addr
		found        bool
	}{
		{"tcp :8080", "tcp6", tcp("[::]:8080"), true},
		{"tcp :8080", "tcp4", tcp("0.0.0.0:8080"), true},
		{"tcp 0.0.0.0:8080", "tcp6", tcp("[::]:8080"), true},
		{"tcp4 :8080", "tcp6", tcp("[::]:8080"), false},
		{"tcp6 :8080", "tcp6", tcp("[::]:8080"), true},
		{"tcp :8080", "tcp4", tcp("127.0.0.1:8080"), false},
		{"tcp 127.0.0.1:8080", "tcp4", tcp("127.0.0.1:8080"), true},
		{"tcp 127.0.0.1:8080", "tcp4", tcp("127.0.0.2:8080"), false},
		{"tcp 127.0.0.1:8080", "tcp6", tcp("[::]:8080"), false},
		{"tcp [fe80::1%lo]:8080", "tcp6", tcp("[fe80::1%lo]:8080"), true},
		{"tcp [fe80::1%lo]:8080", "tcp6", tcp("[fe80::1]:8080"), false},
		{"tcp :http", "tcp6", tcp("[::]:80"), true},
		{"tcp :0", "tcp6", tcp("[::]:80"), false},
		{"tcp nonsense", "tcp6", tcp("[::]:80"), false},
		{"udp :53", "udp6", udp("[::]:53"), true},
		{"udp :53", "tcp6", tcp("[::]:53"), false},
		{"unix /run/x", "unix", &net.UnixAddr{Name: "/run/x", Net: "unix"}, true},
		{"unix /run/../run/x", "unix", &net.UnixAddr{Name: "/run/x", Net: "unix"}, true},
		{"unix @x", "unix", &net.UnixAddr{Name: "@x", Net: "unix"}, true},
		{"unix /x", "unix", &net.UnixAddr{Name: "@x", Net: "unix"}, false},
		{"unix ", "unix", &net.UnixAddr{Net: "unix"}, false},
		{"unixgram /run/x", "unix", &net.UnixAddr{Name: "/run/x", Net: "unix"}, false},
		{"tcp :80", "", tcp("[::]:80"), false},
	} {
		network, address, _ := strings.Cut(tt.asked, " ")
		r := newRequest("Listen", network, address)
		require.Equal(t, tt.found, r.fits(tt.bound) && r.resolve()(tt.at), "%s and %s %s", tt.asked, tt.bound, tt.at)
	}
}

func TestASocketPathThatIsTooLongIsRefusedWithTheLimit(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	longest := filepath.Join(dir, strings.Repeat("n", maxPath-len(dir)-1))
	l, err := Listen("unix", longest)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	for _, listen := range []func(path string) error{
		func(path string) error { _, err := Listen("unix", path); return err },
		func(path string) error { _, err := ListenPacket("unixgram", path); return err },
	} {
		err = listen(longest + "n")
		require.ErrorIs(t, err, syscall.EINVAL)
		require.ErrorContains(t, err, fmt.Sprintf("%sn: the path has %d bytes, but the path of a socket has at most %d: ", longest, maxPath+1, maxPath))
	}
	if runtime.GOOS == "linux" {
		require.Equal(t, 107, maxPath)
	}
}
