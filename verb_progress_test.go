package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheProgressLineFitsIntoItsColumns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		doing   string
		elapsed time.Duration
		columns int
		want    string
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
		got := progressText("echod", 12, "stop", tt.doing, tt.elapsed, tt.columns)
		require.Equal(t, tt.want, got)
	}
}
