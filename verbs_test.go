package lifecycle

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestTheUsageSaysWhatEveryVerbDoesInTwoColumns(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSuffix(proctest.Call(t, verbless).Stderr, "\n"), "\n")[2:]
	for _, v := range verbs() {
		for _, does := range append([]verbFlag{{"", v.does}}, v.flags...) {
			require.NotEmpty(t, lines)
			require.Equal(t, strings.TrimSpace(v.name+" "+does.name), strings.TrimSpace(lines[0][:18]))
			require.Equal(t, does.does, lines[0][18:])
			require.LessOrEqual(t, len(lines[0]), 79)
			lines = lines[1:]
		}
	}
	require.Empty(t, lines)
}
