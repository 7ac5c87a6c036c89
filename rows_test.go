package lifecycle

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Faults have numbers: A races of start and stop, B paths and file systems, C contents and verbs, D kills, E what a process inherits, F signals,
// G hooks, K the log. A test is named after those that it injects, such as TestC1_…; a fault that we do not stand is named in docs/limits.md, such as (A11).
func TestEveryFaultHasATestOrIsALimit(t *testing.T) {
	limits, err := os.ReadFile("docs/limits.md")
	require.NoError(t, err)
	named := slices.Concat(rowsIn(string(limits), regexp.MustCompile(`\([A-L][0-9A-L, ]*`)), rowsInTests(t))
	notYet := []string{"D10", "D11", "D12", "D13", "D14", "E5", "E15"} // of supervision, upgrades and systemd
	for group, rows := range map[string][2]int{
		"A": {1, 16}, "B": {1, 20}, "C": {1, 22}, "D": {1, 16}, "E": {1, 19}, "F": {1, 16}, "G": {1, 22}, "K": {12, 15},
	} {
		for n := rows[0]; n <= rows[1]; n++ {
			if row := fmt.Sprint(group, n); !slices.Contains(notYet, row) {
				require.Contains(t, named, row)
			}
		}
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

func rowsInTests(t *testing.T) (rows []string) {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*_test.go", "internal/*/*_test.go"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		rows = append(rows, rowsIn(string(source), regexp.MustCompile(`(?m)^func Test([A-L][0-9]+_)+`))...)
	}
	return rows
}

// rowsIn is every row that is named in what matches.
func rowsIn(text string, where *regexp.Regexp) (rows []string) {
	for _, match := range where.FindAllString(text, -1) {
		rows = append(rows, regexp.MustCompile(`[A-L][0-9]+`).FindAllString(match, -1)...)
	}
	return rows
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
