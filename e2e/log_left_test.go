package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// mortal is a program whose daemon writes WORDS to stderr and ends before Run.
//
//	mortal PIDFILE LOG ERRORLOG WORDS
var mortal = proctest.Register("mortal", func(args []string) int {
	if lifecycle.InDaemon() {
		fmt.Fprint(os.Stderr, args[3])
		return 3
	}
	return lifecycle.Main([]string{"start"}, nil, lifecycle.PIDFile(args[0]), lifecycle.LogFile(args[1]), lifecycle.ErrorLogFile(args[2]))
})

func TestAFailedStartRemovesTheEmptyLogThatItCreated(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		words string
		there bool // the logs exist before the start
		left  []string
	}{
		{"", false, nil},
		{"the reason\n", false, []string{"err: the reason\n"}},
		{"", true, []string{"err: ", "out: "}},
	} {
		dir := t.TempDir()
		out, errs := filepath.Join(dir, "out"), filepath.Join(dir, "err")
		if tt.there {
			proctest.Touch(t, out)
			proctest.Touch(t, errs)
		}
		got := proctest.Call(t, mortal, filepath.Join(dir, "x.pid"), out, errs, tt.words)
		require.Equal(t, 1, got.Code, got.Stderr)
		require.NoError(t, os.Remove(filepath.Join(dir, "x.state"))) // the record of the failure
		require.Equal(t, tt.left, files(t, dir))
	}
}

// files returns the names and the contents of the files in a directory.
func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		text, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		all = append(all, e.Name()+": "+string(text))
	}
	return all
}
