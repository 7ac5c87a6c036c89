package lifecycle

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/sdnotify"
)

func TestALongTextIsCutSoThatAManagerGetsTheWholeMessage(t *testing.T) {
	t.Parallel()
	address := filepath.Join(proctest.ShortDir(t), "s")
	at := proctest.ManagerAt(t, address)
	socket, err := sdnotify.Dial(address)
	require.NoError(t, err)
	m := &manager{socket: socket, log: slog.New(slog.DiscardHandler)}
	long := strings.Repeat("ö", 50_000)
	m.update(Status{Phase: Ready, Text: long}, 1)
	m.update(Status{Phase: Reloading, Text: long}, 2)
	m.update(Status{Phase: Ready, Text: long, LastReload: &Verdict{Error: long}}, 3)
	m.end(errors.New(long))
	all := at.Messages()
	require.Len(t, all, 4)
	for i, begin := range []string{"READY=1\nSTATUS=ö", "RELOADING=1\n", "READY=1\nX_LIFECYCLE_ERROR=ö", "STATUS=ö"} {
		require.True(t, strings.HasPrefix(all[i], begin), "%.100s", all[i])
		require.Less(t, len(all[i]), 4096)
		require.True(t, utf8.ValidString(all[i]))
	}
}
