package docs

import (
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest/pagetest"
)

// programsOf returns the Go blocks of a page that begin with a package clause: whole programs and
// tests.
func programsOf(t *testing.T, page string) (texts []string) {
	t.Helper()
	for _, block := range regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(pagetest.Read(t, page), -1) {
		if strings.HasPrefix(block[1], "package ") {
			texts = append(texts, block[1])
		}
	}
	return texts
}

func TestTheCodeOfThePagesIsFormatted(t *testing.T) {
	t.Parallel()
	for _, page := range append(pages(t), "README.md") {
		for _, text := range programsOf(t, page) {
			formatted, err := format.Source([]byte(text))
			require.NoError(t, err, page)
			require.Equal(t, string(formatted), text, page)
		}
	}
}

// The test vets the code of the pages and runs its tests, unchanged and in a separate module. The
// code imports only modules that this module requires.
func TestTheCodeOfThePagesCompilesAndPasses(t *testing.T) {
	t.Parallel()
	root, err := os.Getwd()
	require.NoError(t, err)
	dir := t.TempDir()
	for _, page := range pages(t) {
		for i, text := range programsOf(t, page) {
			name := "main.go"
			if strings.Contains(text, "\nfunc Test") {
				name = "main_test.go"
			}
			folder := filepath.Join(dir, strings.TrimSuffix(page, ".md"), fmt.Sprint(i+1))
			require.NoError(t, os.MkdirAll(folder, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
		}
	}
	module := strings.Replace(pagetest.Read(t, "go.mod"), "module example.com/lifecycle\n", "module example.com/pages\n", 1) +
		fmt.Sprintf("\nrequire example.com/lifecycle v0.0.0\n\nreplace example.com/lifecycle => %q\n", root)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(module), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), []byte(pagetest.Read(t, "go.sum")), 0o600))
	// -vet=all enables all vet checks.
	cmd := exec.Command("go", "test", "-trimpath", "-vet=all", "./...")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
