package console

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALineNeverTakesMoreThanItsColumns(t *testing.T) {
	for columns := range 60 {
		for _, detail := range []string{"", "OnStop of http", "OnStop of 数据库"} {
			got := FitLine("waiting for daemon to stop: ", detail, ", ", "2 s", columns)
			require.LessOrEqual(t, width(got), columns, "%q", got)
		}
	}
	require.Equal(t, "head: cut, 2 s", FitLine("head: ", "cut short", ", ", "2 s", 14))
	require.Equal(t, "head: 2 s", FitLine("head: ", "", ", ", "2 s", 14))
}
