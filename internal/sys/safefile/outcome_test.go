package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// After any errno other than ENOENT, it is unknown whether a daemon runs.
func TestOnlyENOENTMeansThatTheFileIsAbsent(t *testing.T) {
	t.Parallel()
	for errno := syscall.Errno(1); errno < 134; errno++ {
		got := OutcomeOf(&fs.PathError{Op: "open", Path: "x", Err: errno})
		require.Equal(t, errno == syscall.ENOENT, got == Absent, "%v", errno)
		require.Equal(t, errors.Is(errno, fs.ErrPermission), got == Denied, "%v", errno)
	}
	require.Equal(t, Absent, OutcomeOf(fs.ErrNotExist))
	require.Equal(t, Denied, OutcomeOf(fs.ErrPermission))
	require.Equal(t, Unknown, OutcomeOf(errors.New("another one")))
	require.Equal(t, Unknown, OutcomeOf(nil))
	_, err := Open(t.TempDir())
	require.Equal(t, Wrong, OutcomeOf(err))
	_, err = Open(filepath.Join(os.Args[0], "below a file"))
	require.Equal(t, Wrong, OutcomeOf(err))
	require.EqualError(t, err, "open "+filepath.Join(os.Args[0], "below a file")+": not a directory", "Open reports the error of its inspection as its own")
}
