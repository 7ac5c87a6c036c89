package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheLineOfAWaitNeverNeedsMoreThanItsRoom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		doing  string
		passed time.Duration
		room   int
		want   string
	}{
		{"OnStop of http", 2 * time.Second, 79, "waiting for echod (pid 12) to stop: OnStop of http, 2 s"},
		{"", 2 * time.Second, 79, "waiting for echod (pid 12) to stop: 2 s"},
		{"", 63 * time.Second, 79, "waiting for echod (pid 12) to stop: 1m3s"},
		{"OnStop of http", 2 * time.Second, 55, "waiting for echod (pid 12) to stop: OnStop of http, 2 s"},
		{"OnStop of http", 2 * time.Second, 54, "waiting for echod (pid 12) to stop: OnStop of htt, 2 s"},
		{"OnStop of http", 2 * time.Second, 41, "waiting for echod (pid 12) to stop: 2 s"},
		{"OnStop of http", 2 * time.Second, 20, "waiting for echod (p"},
		{"OnStop of http", 2 * time.Second, 0, ""},
		{"OnStop of 数据库", 2 * time.Second, 55, "waiting for echod (pid 12) to stop: OnStop of 数据, 2 s"},
		{"OnStop\nof \x1b[2J", 2 * time.Second, 79, "waiting for echod (pid 12) to stop: OnStop of \uFFFD[2J, 2 s"},
	} {
		got := waitingText("echod", 12, "stop", tt.doing, tt.passed, tt.room)
		require.Equal(t, tt.want, got)
		require.LessOrEqual(t, width(got), tt.room)
	}
}
