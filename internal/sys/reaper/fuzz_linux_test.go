package reaper

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzStat checks that parseStat returns the state and the parent for any process name.
func FuzzStat(f *testing.F) {
	for _, name := range []string{"sh", "a b", ") R 1 1", "\x1b]0;x\a\n", "(((", ""} {
		f.Add(name, 4711)
	}
	f.Fuzz(func(t *testing.T, name string, parent int) {
		numbers := strings.Repeat(" 0", 17)
		s, ok := parseStat(fmt.Sprintf("7 (%s) T %d%s 99 0 0\n", name, parent, numbers))
		require.True(t, ok)
		require.Equal(t, stat{'T', parent, "99"}, s)
		_, ok = parseStat(fmt.Sprintf("7 (%s) T %d", name, parent))
		require.False(t, ok)
		_, _ = parseStat(name)
	})
}
