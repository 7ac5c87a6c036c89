package sdnotify

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// FuzzMessage sends arbitrary texts and descriptors. It checks that the server returns the text
// unchanged. The server must keep no descriptor of a refused kind, leave none open, and accept
// nothing from an untrusted process.
func FuzzMessage(f *testing.F) {
	for _, seed := range []struct {
		text, kinds string
	}{
		{"READY=1\nSTATUS=serves", ""},
		{"FDSTORE=1\nFDNAME=a", "sp"},
		{"FDSTORE=1", "sdnPfe"},
		{"", "s"},
		{"\x00\n=\n", strings.Repeat("s", 253)},
		{strings.Repeat("x", maxMessage), "p"},
		{strings.Repeat("x", maxMessage+1), strings.Repeat("P", 17)},
		{"FDSTORE=1", strings.Repeat("P", 253)},
	} {
		f.Add(seed.text, seed.kinds, true)
		f.Add(seed.text, seed.kinds, false)
	}
	sample := samples(f)
	server, err := Listen()
	require.NoError(f, err)
	trusted := false
	server.trusts = func(int) bool { return trusted }
	client, err := Dial(server.Address)
	require.NoError(f, err)
	opened := countDescriptors(f)
	f.Fuzz(func(t *testing.T, text, kinds string, trusts bool) {
		if len(kinds) > maxFiles || len(text) > 2*maxMessage || len(text)+len(kinds) == 0 {
			return
		}
		var files []*os.File
		kept := 0
		for i := range len(kinds) {
			s := sample[int(kinds[i])%len(sample)]
			files = append(files, s.file)
			if s.kept {
				kept++
			}
		}
		trusted = trusts
		require.NoError(t, client.SendFiles(files, text))
		m, err := server.next()
		if !trusts || len(text) > maxMessage {
			require.ErrorIs(t, err, errNoMessage)
			require.Empty(t, m.Files)
		} else {
			require.NoError(t, err)
			require.Equal(t, text, m.Text)
			require.Equal(t, os.Getpid(), m.PID)
			require.Len(t, m.Files, kept)
			require.Equal(t, len(files)-kept, m.Refused)
		}
		Discard(m.Files...)
		require.Eventually(t, func() bool { return countDescriptors(t) == opened }, time.Minute, 100*time.Microsecond)
		_, err = server.next()
		require.ErrorIs(t, err, errEmpty)
	})
}

type sample struct {
	file *os.File
	kept bool
}

// samples returns descriptors of several kinds.
func samples(t testing.TB) (all []sample) {
	t.Helper()
	add := func(kept bool, fd int, err error) {
		require.NoError(t, err)
		f := os.NewFile(uintptr(fd), "sample")
		t.Cleanup(func() { f.Close() })
		all = append(all, sample{f, kept})
	}
	var pipe [2]int
	require.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	add(true, pipe[0], nil)
	add(true, pipe[1], nil)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	add(true, fd, err)
	fd, err = unix.MemfdCreate("sample", unix.MFD_CLOEXEC)
	add(true, fd, err)
	fd, err = unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	add(false, fd, err)
	fd, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	add(false, fd, err)
	fd, err = unix.PidfdOpen(os.Getpid(), 0)
	add(false, fd, err)
	fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	add(false, fd, err)
	return all
}

func countDescriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// FuzzValue checks that a value is a part of the message and a single line.
func FuzzValue(f *testing.F) {
	f.Add("READY=1\nSTATUS=a\nSTATUS=b", "STATUS")
	f.Add("STATUS=\n", "STATUS")
	f.Add("A=B=C\n\n=\n", "A")
	f.Add("=x", "")
	f.Fuzz(func(t *testing.T, text, name string) {
		value, ok := Message{Text: text}.Value(name)
		if strings.Contains(name, "\n") {
			require.False(t, ok)
		}
		if ok {
			require.NotContains(t, value, "\n")
			require.Contains(t, "\n"+text+"\n", "\n"+name+"="+value+"\n")
		}
	})
}
