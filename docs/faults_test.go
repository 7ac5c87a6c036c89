package docs

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest/pagetest"
)

// faultRow is a row of the tables of faults in docs/security.md.
var faultRow = regexp.MustCompile(`(?m)^\| ([A-L]\d+) \| (.+) \| (.*) \|$`)

// leadingTests matches the links to tests at the beginning of the last cell of a row.
var leadingTests = regexp.MustCompile(`^(\[Test\w+\]\([^)]*\)(, )?)*`)

// Faults have letters and numbers. The letters are A races of start and stop, B paths and file
// systems, C contents and verbs, D kills, E what a process inherits, F signals, G hooks, H
// supervision, I limits, J namespaces, K the log and systemd, L users. A test that injects a fault
// names it in the last line of its comment: "Row A1." or "Rows A1, B10.". In the tables, each fault
// has links to its tests, or the reason why it has none. "make docs" writes the links.
func TestEveryFaultHasATestOrAReason(t *testing.T) {
	const page = "docs/security.md"
	tests := testsOfRows(t)
	next := map[string]int{}
	made := faultRow.ReplaceAllStringFunc(pagetest.Read(t, page), func(line string) string {
		cells := faultRow.FindStringSubmatch(line)
		row, fault, rest := cells[1], cells[2], leadingTests.ReplaceAllString(cells[3], "")
		next[row[:1]]++
		require.Equal(t, fmt.Sprint(row[:1], next[row[:1]]), row, "the rows must be in order")
		links := tests[row]
		delete(tests, row)
		if rest != "" {
			links = append(links, rest)
		}
		require.NotEmpty(t, links, "%s has no test and no reason", row)
		return "| " + row + " | " + fault + " | " + strings.Join(links, ", ") + " |"
	})
	require.Empty(t, tests, "the comment of a test names a missing row")
	pagetest.RequireText(t, page, made)
}

// The test builds the program in the README unchanged, in a folder that exists only in an overlay.
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

// rowComment is the last line of the comment of a test that injects a fault.
var rowComment = regexp.MustCompile(`(?m)^// Rows? ([A-L]\d+(?:, [A-L]\d+)*)\.\nfunc (Test\w+)\(`)

// testsOfRows returns the links to the tests of each row, as a page in docs needs them.
func testsOfRows(t *testing.T) (links map[string][]string) {
	t.Helper()
	links = map[string][]string{}
	for _, file := range testFiles(t) {
		for _, found := range rowComment.FindAllStringSubmatch(pagetest.Read(t, file), -1) {
			for row := range strings.SplitSeq(found[1], ", ") {
				links[row] = append(links[row], "["+found[2]+"](../"+file+")")
			}
		}
	}
	require.NotEmpty(t, links)
	return links
}

// testFiles returns the paths of all files of tests.
func testFiles(t *testing.T) (paths []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, "_test.go") {
			paths = append(paths, filepath.ToSlash(path))
		}
		return err
	}))
	return paths
}

// A link to a test in a page leads to the file that contains the test. "make docs" updates the
// links to moved tests.
func TestTheTestsThatAPageNamesExistInTheLinkedFiles(t *testing.T) {
	files := map[string]string{}
	for _, file := range testFiles(t) {
		files[file] = pagetest.Read(t, file)
	}
	// find returns the file with a test whose name begins with name. It prefers the file where.
	find := func(name, where string) string {
		begin := regexp.MustCompile(`(?m)^func ` + name + `(\(|[A-Z0-9_])`)
		for _, file := range append([]string{where}, slices.Sorted(maps.Keys(files))...) {
			if begin.MatchString(files[file]) {
				return file
			}
		}
		require.Fail(t, "a page names a missing test", name)
		return ""
	}
	links := regexp.MustCompile(`\[((?:Test\w+(?:, )?)+)\]\(([^)#]+)\)`)
	for _, page := range append(pages(t), "README.md", "CONTRIBUTING.md") {
		made := links.ReplaceAllStringFunc(pagetest.Read(t, page), func(link string) string {
			parts := links.FindStringSubmatch(link)
			var made []string
			for name := range strings.SplitSeq(parts[1], ", ") {
				target, err := filepath.Rel(filepath.Dir(page), find(name, path.Join(path.Dir(page), parts[2])))
				require.NoError(t, err)
				behind := "](" + filepath.ToSlash(target) + ")"
				if last := len(made) - 1; last >= 0 && strings.HasSuffix(made[last], behind) {
					made[last] = strings.TrimSuffix(made[last], behind) + ", " + name + behind
				} else {
					made = append(made, "["+name+behind)
				}
			}
			return strings.Join(made, ", ")
		})
		pagetest.RequireText(t, page, made)
	}
}
