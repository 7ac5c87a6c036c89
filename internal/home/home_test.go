package home

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheHomeOfRootIsThatOfTheUserDatabaseAndNotOfTheEnvironment(t *testing.T) {
	passwd, err := os.ReadFile("/etc/passwd")
	require.NoError(t, err)
	want := ""
	for line := range strings.Lines(string(passwd)) {
		if fields := strings.Split(line, ":"); len(fields) >= 7 && fields[2] == "0" && want == "" {
			want = fields[5]
		}
	}
	t.Setenv("HOME", "/elsewhere")
	t.Setenv("USER", "root")
	dir, err := Of(0)
	require.NoError(t, err)
	require.Equal(t, want, dir)
}

func TestAUserWhoIsNotInTheDatabaseHasNoHome(t *testing.T) {
	t.Setenv("HOME", "/elsewhere")
	t.Setenv("USER", "somebody")
	_, err := Of(54321)
	require.Error(t, err)
}
