package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest/pagetest"
)

// pages returns the pages of docs/ and of its directories.
func pages(t *testing.T) (paths []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir("docs", func(path string, entry fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			paths = append(paths, filepath.ToSlash(path))
		}
		return err
	}))
	require.NotEmpty(t, paths)
	return paths
}

func TestTheIndexNamesEveryPage(t *testing.T) {
	index := pagetest.Read(t, "docs/README.md")
	for _, path := range pages(t) {
		name := strings.TrimPrefix(path, "docs/")
		if name == "README.md" {
			continue
		}
		require.Contains(t, index, name)
	}
}

// The page names every package, including packages without code.
func TestTheArchitectureNamesEveryPackage(t *testing.T) {
	page := pagetest.Read(t, "docs/architecture.md")
	var packages []string
	for _, pattern := range []string{"internal/*", "internal/sys/*"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		packages = append(packages, found...)
	}
	packages = slices.DeleteFunc(packages, func(path string) bool { return path == "internal/sys" })
	for _, path := range append(packages, "socket", "lifecycletest", "e2e", "conformance", "bench", "tools") {
		row := "\n| [" + filepath.Base(path) + "](../" + filepath.ToSlash(path) + "/"
		require.Equal(t, 1, strings.Count(page, row), path)
	}
}

// Each link in a page leads to a file, to a heading in a file, or to a test.
func TestTheLinksOfThePagesAreValid(t *testing.T) {
	for _, page := range append(pages(t), "README.md", "CONTRIBUTING.md") {
		text := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(pagetest.Read(t, page), "")
		for _, link := range regexp.MustCompile(`\[([^\]]*)\]\(([^)#]*)(?:#([^)]*))?\)`).FindAllStringSubmatch(text, -1) {
			path, heading := link[2], link[3]
			if strings.Contains(path, "://") {
				continue
			}
			target := filepath.Join(filepath.Dir(page), path)
			if path == "" {
				target = page
			}
			info, err := os.Stat(target)
			require.NoError(t, err, "%s links to %s", page, path)
			if info.IsDir() {
				continue
			}
			linked := pagetest.Read(t, target)
			if heading != "" {
				require.Contains(t, headings(linked), heading, "%s links to it in %s", page, path)
			}
		}
	}
}

// headings returns the anchors that GitHub makes from the headings of a page.
func headings(text string) (names []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// The make targets in the pages exist.
func TestThePagesNameOnlyTargetsOfTheMakefile(t *testing.T) {
	makefile := pagetest.Read(t, "Makefile")
	for _, page := range append(pages(t), "README.md", "CONTRIBUTING.md") {
		for _, target := range regexp.MustCompile("(?:`|\n    )make ([a-z]+)").FindAllStringSubmatch(pagetest.Read(t, page), -1) {
			require.Regexp(t, `(?m)^`+target[1]+`:`, makefile, "%s names it", page)
		}
	}
}

// The tests or the code read each variable that a page names.
func TestThePagesNameOnlyVariablesThatAreRead(t *testing.T) {
	var sources strings.Builder
	for _, pattern := range []string{"*.go", "internal/*/*.go", "internal/sys/*/*.go", ".ci/run", "Makefile"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			sources.WriteString(pagetest.Read(t, file))
		}
	}
	for _, page := range pages(t) {
		names := regexp.MustCompile(`\b_?LIFECYCLE_[A-Z]+`).FindAllString(pagetest.Read(t, page), -1)
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			require.Contains(t, sources.String(), name, "%s names it", page)
		}
	}
}
