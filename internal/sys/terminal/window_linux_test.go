package terminal

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestColumnsReturnsTheCurrentWidthOfTheTerminal(t *testing.T) {
	master, slave := pty(t)
	require.Zero(t, Columns(slave), "no process has set the size")
	for _, columns := range []uint16{1, 80, 65535} {
		require.NoError(t, unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
		require.EqualValues(t, columns, Columns(slave))
	}
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	require.Zero(t, Columns(null))
	require.Zero(t, Columns(nil))
}

func TestInBackgroundReturnsFalseForAnotherTerminal(t *testing.T) {
	_, slave := pty(t)
	require.False(t, InBackground(slave))
	require.False(t, InBackground(nil))
}
