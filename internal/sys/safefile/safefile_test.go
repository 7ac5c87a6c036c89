//go:build unix

package safefile

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// shortDir returns a directory whose path is short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "safefile")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

func TestCreateReportsWhetherItCreatedTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, created, err := Create(path, 0o600)
	require.NoError(t, err)
	require.True(t, created)
	require.NoError(t, WriteOnce(f, []byte("text")))
	require.NoError(t, f.Close())

	f, created, err = Create(path, 0o644)
	require.NoError(t, err)
	require.False(t, created)
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), "an existing file keeps its mode")
	require.NoError(t, f.Close())
	require.Equal(t, "text", content(t, path), "an existing file keeps its content")
}

func TestOnlyARegularFileWithOneNameIsOpened(t *testing.T) {
	dir := shortDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("target"), "untouched")
	write(t, at("first name"), "untouched")
	require.NoError(t, os.Link(at("first name"), at("second name")))
	require.NoError(t, os.Mkdir(at("directory"), 0o700))
	require.NoError(t, os.Symlink(at("target"), at("link")))
	require.NoError(t, os.Symlink(at("missing"), at("dangling link")))
	require.NoError(t, os.Symlink("link to itself", at("link to itself")))
	require.NoError(t, os.Symlink(at("directory"), at("link to a directory")))
	require.NoError(t, syscall.Mkfifo(at("fifo"), 0o600))
	socket, err := net.Listen("unix", at("socket"))
	require.NoError(t, err)
	defer socket.Close()
	before := entries(t, dir)

	for path, why := range map[string]string{
		at("first name"):          "it has 2 hard links",
		at("second name"):         "it has 2 hard links",
		at("directory"):           "it is a directory, not a regular file",
		at("link"):                "it is a symbolic link, not a regular file",
		at("dangling link"):       "it is a symbolic link, not a regular file",
		at("link to itself"):      "it is a symbolic link, not a regular file",
		at("link to a directory"): "it is a symbolic link, not a regular file",
		at("fifo"):                "it is a FIFO, not a regular file",
		at("socket"):              "it is a socket, not a regular file",
		"/dev/null":               "it is a device, not a regular file",
		"/":                       "it is a directory, not a regular file",
	} {
		_, _, err := Create(path, 0o600)
		require.ErrorIs(t, err, ErrUnsafe)
		require.EqualError(t, err, "open "+path+": "+why)
		_, err = Open(path)
		require.ErrorIs(t, err, ErrUnsafe)
		require.EqualError(t, err, "open "+path+": "+why)
	}
	require.Equal(t, before, entries(t, dir), "nothing was made, and nothing removed")
	require.Equal(t, "untouched", content(t, at("target")))
	require.Equal(t, "untouched", content(t, at("first name")))
}

func TestOpenReturnsTheReason(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	for path, why := range map[string]error{
		filepath.Join(dir, "missing", "file"):             fs.ErrNotExist,
		filepath.Join(dir, "file", "file"):                syscall.ENOTDIR,
		filepath.Join(dir, strings.Repeat("n", 256)):      syscall.ENAMETOOLONG,
		filepath.Join(dir, strings.Repeat("path/", 1000)): syscall.ENAMETOOLONG,
	} {
		_, _, err := Create(path, 0o600)
		require.ErrorIs(t, err, why)
		_, err = Open(path)
		require.ErrorIs(t, err, why)
	}
	_, err := Open(filepath.Join(dir, "missing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestOpenIsForReadingOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "text")
	f, err := Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.ErrorIs(t, WriteOnce(f, []byte("more")), syscall.EBADF)
	require.ErrorIs(t, WriteOnce(f, []byte("more")), syscall.EBADF, "and an error is no reason to close it")
}

func TestSameReportsAReplacedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	f, _, err := Create(path, 0o600)
	require.NoError(t, err)
	requireSame := func(want bool) {
		t.Helper()
		same, err := Same(f, path)
		require.NoError(t, err)
		require.Equal(t, want, same)
	}
	requireSame(true)
	moved := filepath.Join(dir, "moved")
	require.NoError(t, os.Rename(path, moved))
	requireSame(false)
	require.NoError(t, os.Symlink(moved, path))
	requireSame(false) // a symbolic link to the file does not count as the file
	require.NoError(t, os.Remove(path))
	write(t, path, "")
	requireSame(false)
	require.NoError(t, os.Rename(moved, path))
	requireSame(true)
	require.NoError(t, os.Remove(path))
	requireSame(false)

	_, err = Same(f, filepath.Join(path, "below"))
	require.NoError(t, err, "where the directory is gone, so is the file")
	require.NoError(t, f.Close())
	_, err = Same(f, path)
	require.Error(t, err)
}

func TestWriteOnceWritesAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, _, err := Create(path, 0o600)
	require.NoError(t, err)
	defer f.Close()
	for _, number := range []string{"12345\n", "54321\n"} {
		require.NoError(t, WriteOnce(f, []byte(number)))
		require.Equal(t, number, content(t, path))
	}
}

// Create must not retry forever.
func TestCreateGivesUpIfTheFileAppearsAndDisappears(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.WriteFile(path, nil, 0o600)
			_ = os.Remove(path)
		}
	}()
	for range 200 {
		f, _, err := Create(path, 0o600)
		if err == nil {
			require.NoError(t, f.Close())
			continue
		}
		require.ErrorIs(t, err, fs.ErrNotExist, fmt.Sprint("a file, or that it went: ", err))
	}
	close(stop)
	<-stopped
}
