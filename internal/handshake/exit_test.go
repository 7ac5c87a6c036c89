package handshake

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLastLinesBeginWithTheCrashReport(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("\nrax 0x0", 30)
	for _, tt := range []struct{ text, first, last string }{
		{"a\nb", "a", "b"},
		{"first" + many + "\nlast", "rax 0x0", "last"},
		{"a\npanic: x\n\ngoroutine 1", "panic: x", "goroutine 1"},
		{
			"a\nruntime: may need to increase max user processes (ulimit -u)\nfatal error: newosproc" + many,
			"runtime: may need to increase max user processes (ulimit -u)", "rax 0x0",
		},
		{
			"a\nruntime/cgo: pthread_create failed: Resource temporarily unavailable\nSIGABRT: abort\nPC=0x1" + many,
			"runtime/cgo: pthread_create failed: Resource temporarily unavailable", "rax 0x0",
		},
		{"runtime: all is well\nbut then", "runtime: all is well", "but then"},
	} {
		got := LastLines(tt.text)
		require.Equal(t, []string{tt.first, tt.last}, []string{got[0], got[len(got)-1]})
		require.LessOrEqual(t, len(got), maxLines)
	}
	require.Empty(t, LastLines(" \n"))
}
