package handshake

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheDocumentationListsEveryMessage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/handshake.md")
	require.NoError(t, err)
	_, text, found := strings.Cut(string(page), "\n| message |")
	require.True(t, found)
	table, _, _ := strings.Cut(text, "\n\n")
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|").FindAllStringSubmatch(table, -1) {
		listed = append(listed, row[1])
	}
	var sent []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[message]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		sent = append(sent, name)
	}
	require.Equal(t, sent, listed)
}
