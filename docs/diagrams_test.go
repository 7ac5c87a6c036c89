package docs

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest/pagetest"
)

var mermaid = regexp.MustCompile("(?s)```mermaid\n.*?\n```")

// A forge draws a diagram with light or dark colours, as the reader chooses. A diagram that sets
// its own colours is readable in only one of the two. "make mermaid" checks the syntax.
func TestADiagramSetsNoColours(t *testing.T) {
	var diagrams []string
	for _, page := range append(pages(t), "README.md", "CONTRIBUTING.md") {
		diagrams = append(diagrams, mermaid.FindAllString(pagetest.Read(t, page), -1)...)
	}
	require.NotEmpty(t, diagrams)
	for _, diagram := range diagrams {
		require.NotRegexp(t, `%%\{|\n---|(?m)^\s*(style|linkStyle|classDef|rect|box) `, diagram)
	}
}
