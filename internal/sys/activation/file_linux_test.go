package activation

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFileFindsTheFileOfASocket(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"unix", "unixpacket", "unixgram"} {
		dir, err := os.MkdirTemp("", "s")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "s")
		f := bound(t, network, path)
		require.NotNil(t, File(f, path))
		_, ok := boundInode(f)
		require.True(t, ok)

		other := filepath.Join(dir, "other")
		bound(t, network, other)
		require.Nil(t, File(f, other), "the file of another socket")
		require.Nil(t, File(f, dir))
		require.Nil(t, File(f, filepath.Join(dir, "missing")))
		require.NoError(t, os.Rename(other, path))
		require.Nil(t, File(f, path), "another file has replaced the socket file")
	}
}

func bound(t *testing.T, network, path string) *os.File {
	t.Helper()
	var c interface{ File() (*os.File, error) }
	if network == "unixgram" {
		p, err := net.ListenUnixgram(network, &net.UnixAddr{Name: path, Net: network})
		require.NoError(t, err)
		t.Cleanup(func() { p.Close() })
		c = p
	} else {
		l, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		c = l
	}
	f, err := c.File()
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// FuzzParseFile checks that parseFile reads no byte outside of the answer of the kernel.
func FuzzParseFile(f *testing.F) {
	f.Add([]byte{}, uint32(0))
	f.Add(append(fileRequest(7), make([]byte, 64)...), uint32(7))
	f.Fuzz(func(_ *testing.T, answer []byte, socket uint32) { parseFile(answer, socket) })
}
