// Package pagetest has the helpers that tests of the pages in docs share. Parts of a page are
// generated from the code. "make docs" sets LIFECYCLE_UPDATE, and then the tests write these parts.
// Otherwise the tests compare them.
package pagetest

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Read returns the text of a page.
func Read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// Columns finds the first table after that text whose first columns have these headings. It returns
// these columns of each row.
func Columns(t *testing.T, path, after string, heads ...string) (rows []string) {
	t.Helper()
	_, text, found := strings.Cut(Read(t, path), after)
	require.True(t, found, "%s says nowhere %q", path, after)
	head := "\n\n| " + strings.Join(heads, " | ") + " |"
	_, text, found = strings.Cut(text, head)
	require.True(t, found, "%s has no such table behind %q: %s", path, after, head)
	table, _, _ := strings.Cut(text, "\n\n")
	for _, row := range strings.Split(strings.TrimSpace(table), "\n")[2:] {
		cells := strings.SplitN(row, " | ", len(heads)+1)
		rows = append(rows, strings.TrimPrefix(strings.Join(cells[:len(heads)], " | "), "| "))
	}
	return rows
}

// RequireTable requires that the page contains exactly this table between the marks with that name.
// With LIFECYCLE_UPDATE, it writes the table.
func RequireTable(t *testing.T, path, name string, rows ...string) {
	t.Helper()
	begin, end := "<!-- "+name+": make docs -->\n", "<!-- end -->\n"
	before, rest, found := strings.Cut(Read(t, path), begin)
	require.True(t, found, "%s has no %s", path, begin)
	_, after, found := strings.Cut(rest, end)
	require.True(t, found, "%s has no %s behind %s", path, end, begin)
	RequireText(t, path, before+begin+"\n"+strings.Join(rows, "\n")+"\n\n"+end+after)
}

// RequireText requires that the file contains exactly this text. With LIFECYCLE_UPDATE, it writes
// the text.
func RequireText(t *testing.T, path, want string) {
	t.Helper()
	if os.Getenv("LIFECYCLE_UPDATE") != "" {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	if Read(t, path) != want {
		t.Fatalf(`%s is not what the code makes of it: "make docs" writes it, with`+"\n\n%s", path, want)
	}
}
