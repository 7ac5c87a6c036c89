package activation

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeyReversesName(t *testing.T) {
	t.Parallel()
	for key, name := range map[string]string{
		"tcp::8080":          "tcp%3A%3A8080",
		"tcp:[::1]:80":       "tcp%3A[%3A%3A1]%3A80",
		"unix:/run/a%b":      "unix%3A/run/a%25b",
		"unix:/run/a\nb\xff": "unix%3A/run/a%0Ab%FF",
		"":                   "",
	} {
		require.Equal(t, name, Name(key))
		got, ok := Key(name)
		require.True(t, ok)
		require.Equal(t, key, got)
	}
	for _, name := range []string{"a:b", "%", "%3", "%3a", "%zz", "a%2Fb", "\n", strings.Repeat("x", 256)} {
		_, ok := Key(name)
		require.False(t, ok, "%q", name)
	}
}

func TestALongNameIsCutAndUnique(t *testing.T) {
	t.Parallel()
	long := "unix:/" + strings.Repeat("é", 200)
	require.NotEqual(t, Name(long+"a"), Name(long+"b"))
	require.True(t, strings.HasPrefix(Name(long), "unix%3A/%C3%A9"))
	require.LessOrEqual(t, len(Name(long)), maxName)
}

// FuzzName checks that systemd accepts every name, and that no two texts have the same name.
func FuzzName(f *testing.F) {
	for _, key := range []string{"", "tcp::8080", "unix:@a b%3A", strings.Repeat(":", 85), strings.Repeat(":", 86), "\x00\x7f\xff"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		name := Name(key)
		require.LessOrEqual(t, len(name), maxName)
		require.False(t, strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || r == ':' }), "%q", name)
		back, ok := Key(name)
		if len(escape(key)) <= maxName {
			require.True(t, ok)
			require.Equal(t, key, back)
		}
		if back, ok := Key(key); ok {
			require.Equal(t, key, Name(back))
		}
	})
}

// FuzzParse checks that parse returns a name for each descriptor. parse must return no names if the
// PID is the PID of another process.
func FuzzParse(f *testing.F) {
	f.Add("7", "2", "a:b", 7)
	f.Add("7", "2", "a", 7)
	f.Add("7", "1", "", 7)
	f.Add("8", "1", "a", 7)
	f.Add("", "1", "a", 0)
	f.Add("7", "-1", "a", 7)
	f.Add("7", "1000000000", "a", 7)
	f.Add("07", "0x1", ":::", 7)
	f.Fuzz(func(t *testing.T, pid, fds, names string, self int) {
		all := parse(pid, fds, names, self)
		if len(all) == 0 {
			return
		}
		require.Equal(t, strconv.Itoa(self), pid)
		n, err := strconv.Atoi(fds)
		require.NoError(t, err)
		require.Len(t, all, n)
		require.LessOrEqual(t, n, maxFiles)
		if strings.Count(names, ":") == n-1 {
			require.Equal(t, names, strings.Join(all, ":"))
		}
	})
}

func TestTheVariablesAreRemovedFromTheEnvironmentEvenIfTheyAreForAnotherProcess(t *testing.T) {
	variables := []string{"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"}
	for _, name := range variables {
		t.Setenv(name, "1")
	}
	require.Empty(t, Take())
	for _, name := range variables {
		_, set := os.LookupEnv(name)
		require.False(t, set, name)
	}
}
