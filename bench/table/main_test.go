package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func made(t *testing.T, page string, output io.Reader) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(path, []byte(page), 0o644))
	err := write(path, output)
	text, readErr := os.ReadFile(path)
	require.NoError(t, readErr)
	return string(text), err
}

func recorded(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/output.txt")
	require.NoError(t, err)
	return string(text)
}

func TestTheTablesShowTheOutputOfTheBenchmarks(t *testing.T) {
	page, err := made(t, "before\n"+begin+"old\n"+end+"after\n", strings.NewReader(recorded(t)))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(page, "before\n"+begin+"\nMeasured on 2026-11-21: Intel(R) Xeon(R) Processor, 2 cores, Linux 6.18.44, go1.25.0;\nthe load before it was 0.12.\n\n"), page)
	require.True(t, strings.HasSuffix(page, "\n\n"+end+"after\n"), page)
	require.NotContains(t, page, "old\n")
	for _, row := range []string{
		"| a start takes at most 1.5 times as long as with go-daemon | 1.40 × | met |",
		"| a crashed program runs again within 1.5 times its execution | 2.00 × | **missed** |",
		"| a crashed program runs again sooner than with runit | 0.004 × | met |",
		"| a crashed program runs again sooner than with s6 | – | not measured |",
		"| the supervisor, without cgo | 5.97 MiB | met |",
		"|  | median, ms | 9 of 10 within, ms | × lifecycle |\n|---|---:|---:|---:|\n| go-daemon | 6.00 | 46.3 | 0.71 |\n| **lifecycle** | 8.40 | 89.1 | 1.00 |\n",
		"| *floor: execution* | 2.00 | 4.21 | 0.50 |\n| **lifecycle** | 4.00 | 7.04 | 1.00 |\n| runit | 1007 | 1008 | 252 |\n| s6 | not installed | – | – |\n",
		"| *floor: open,read,close,kill* | 5.48 | 0.058 |\n| **lifecycle: Find,Status,Close** | 95.1 | 1.00 |\n",
		"| **lifecycle, without cgo** | 5.97 | 4.03 | 2.09 | 0 | 1.00 |\n",
	} {
		require.Contains(t, page, row+"\n")
	}
}

func TestAFailedRunChangesNothing(t *testing.T) {
	page := "before\n" + begin + "old\n" + end
	for failure, output := range map[string]io.Reader{
		"a benchmark has failed: --- FAIL: BenchmarkCrash/lifecycle":               strings.NewReader(recorded(t) + "--- FAIL: BenchmarkCrash/lifecycle\nFAIL\n"),
		"a benchmark has failed: panic: the benchmarks hang":                       strings.NewReader("panic: the benchmarks hang\n" + recorded(t)),
		"a benchmark has failed: FAIL\texample.com/lifecycle/bench [build failed]": strings.NewReader("FAIL\texample.com/lifecycle/bench [build failed]\n"),
		"no benchmark was run": strings.NewReader("PASS\n"),
		"broken":               iotest.ErrReader(errors.New("broken")),
	} {
		after, err := made(t, page, output)
		require.EqualError(t, err, failure)
		require.Equal(t, page, after)
	}
	_, err := made(t, "no lines", strings.NewReader(recorded(t)))
	require.ErrorContains(t, err, "has no lines")
}

// The names in tables and goals must be names of benchmarks. If they are, no table on the generated
// page is empty.
func TestThePageHasEveryTable(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	for _, table := range tables {
		_, text, found := strings.Cut(string(page), "### "+table.title+"\n\n")
		require.True(t, found, table.title)
		text, _, _ = strings.Cut(text, "### ")
		require.Contains(t, text, "| **lifecycle", table.title)
	}
	require.NotContains(t, string(page), "| not measured |")
}
