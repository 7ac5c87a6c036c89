package userdb

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRootComesFromTheUserDatabaseAndNotFromTheEnvironment(t *testing.T) {
	passwd, err := os.ReadFile("/etc/passwd")
	require.NoError(t, err)
	want := User{Name: "root"}
	for line := range strings.Lines(string(passwd)) {
		if fields := strings.Split(line, ":"); len(fields) >= 7 && fields[2] == "0" && want.Home == "" {
			want.Home = fields[5]
			if runtime.GOOS != "darwin" { // os/user does not report it on macOS
				want.Shell = strings.TrimSpace(fields[6])
			}
		}
	}
	t.Setenv("HOME", "/elsewhere")
	t.Setenv("USER", "somebody")
	byID, err := ByID(0)
	require.NoError(t, err)
	require.Equal(t, want, byID)
	byName, err := ByName("root")
	require.NoError(t, err)
	require.Equal(t, want, byName)
}

func TestAUserWhoIsNotInTheDatabaseIsUnknown(t *testing.T) {
	t.Setenv("HOME", "/elsewhere")
	t.Setenv("USER", "somebody")
	_, err := ByID(54321)
	require.ErrorIs(t, err, ErrUnknown)
	for _, name := range []string{"no-such-user", "", "0", "-x"} {
		_, err = ByName(name)
		require.ErrorIs(t, err, ErrUnknown, "%q", name)
		_, err = GroupID(name)
		require.ErrorIs(t, err, ErrUnknown, "%q", name)
	}
}

// The answer of id(1) is independent of this package, because id asks the C library.
func TestEveryUserHasTheGroupsOfALogin(t *testing.T) {
	if _, err := exec.LookPath("id"); err != nil {
		t.Skip("this test needs id, which this machine lacks")
	}
	passwd, err := os.ReadFile("/etc/passwd")
	require.NoError(t, err)
	for line := range strings.Lines(string(passwd)) {
		name, _, _ := strings.Cut(line, ":")
		out, err := exec.Command("id", "-G", name).Output()
		if err != nil {
			continue // a comment
		}
		var want []int
		for _, field := range strings.Fields(string(out)) {
			gid, err := strconv.Atoi(field)
			require.NoError(t, err)
			want = append(want, gid)
		}
		u, err := ByName(name)
		require.NoError(t, err)
		got, err := GroupsOf(u)
		require.NoError(t, err)
		require.Equal(t, u.GID, got[0])
		require.ElementsMatch(t, want, got, "%s", name)
	}
}
