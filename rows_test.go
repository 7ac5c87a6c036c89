package lifecycle

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Faults have numbers: A races of start and stop, B paths and file systems, C contents and verbs, D kills, E what a process inherits, F signals,
// G hooks, H supervision, I limits, J namespaces, K the log and systemd, L users. A test is named after those that it injects, such as TestC1_…. The table in
// docs/security.md has each of them, with a test or with the reason why there is none.
func TestEveryFaultHasATestOrAReason(t *testing.T) {
	text, err := os.ReadFile("docs/security.md")
	require.NoError(t, err)
	row := regexp.MustCompile(`(?m)^\| ([A-L])(\d+) \| .+ \| (.+) \|$`)
	last := map[string]int{"A": 0, "B": 0, "C": 0, "D": 0, "E": 0, "F": 0, "G": 0, "H": 0, "I": 0, "J": 0, "K": 0, "L": 0}
	for _, cells := range row.FindAllStringSubmatch(string(text), -1) {
		group, why := cells[1], cells[3]
		last[group]++
		require.Equal(t, fmt.Sprint(last[group]), cells[2], "the rows of %s are in order", group)
		require.NotEmpty(t, strings.TrimSpace(why), "%s%s", group, cells[2])
	}
	require.Equal(t, map[string]int{"A": 16, "B": 20, "C": 22, "D": 16, "E": 19, "F": 16, "G": 22, "H": 12, "I": 12, "J": 12, "K": 21, "L": 15}, last)

	for _, name := range testsOfRows(t) {
		row := regexp.MustCompile(`[A-L][0-9]+`).FindString(name)
		require.Regexp(t, `(?m)^\| `+row+` \| .*\bTest`, string(text), "the row of %s has a test", name)
	}
}

// The program in the README is built as it stands there, in a folder that exists only in an overlay.
func TestTheProgramInTheREADMEBuilds(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	program := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	require.NotNil(t, program)
	file, overlay := filepath.Join(t.TempDir(), "main.go"), filepath.Join(t.TempDir(), "overlay.json")
	require.NoError(t, os.WriteFile(file, program[1], 0o600))
	root, err := os.Getwd()
	require.NoError(t, err)
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "_example", "readme", "main.go"): file}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, replace, 0o600))
	out, err := exec.Command("go", "build", "-o", os.DevNull, "-overlay", overlay, "./_example/readme").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// testsOfRows are the names of the tests that are named after a row.
func testsOfRows(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*_test.go", "internal/*/*_test.go", "conformance/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			names = append(names, regexp.MustCompile(`(?m)^func Test[A-L][0-9]+_\w+`).FindAllString(string(source), -1)...)
		}
	}
	require.NotEmpty(t, names)
	return names
}

// A link in the documentation leads somewhere, and a test that it names exists.
func TestTheDocumentationNamesWhatIsThere(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, link := range regexp.MustCompile(`\[([^\]]*)\]\(([^)#]+)\)`).FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(link[2], "://") {
				continue
			}
			target := filepath.Join(filepath.Dir(page), link[2])
			linked, err := os.ReadFile(target)
			require.NoError(t, err, "%s links to %s", page, link[2])
			for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(link[1], -1) {
				require.True(t, strings.Contains(string(linked), "func "+name), "%s says that %s is in %s", page, name, link[2])
			}
		}
	}
}
