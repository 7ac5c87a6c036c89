package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var long = strings.Repeat("long ", 25)

// found returns the numbers of the lines with a finding.
func found(lines []line) (numbers []int) {
	for _, l := range lines {
		if len(l.findings()) > 0 {
			numbers = append(numbers, l.number)
		}
	}
	return numbers
}

func requireFound(t *testing.T, prose func(string) []line, source string, want ...int) {
	t.Helper()
	if got := found(prose(source)); !slices.Equal(got, want) {
		t.Fatalf("found %v, want %v, in\n%s", got, want, source)
	}
}

func TestCommentsAreChecked(t *testing.T) {
	requireFound(t, comments, `// Package p has a comment. Nobody reads it.
package p

//go:generate `+long+`
// f is a function. https://example.com/`+long+`
//
//	nobody := `+long+`
//
// It calls [Nobody] and TestNobody.
func f() {
	_ = "nobody" // `+long+`
	/* The daemon
	is told. */
}

func Example() {
	// Output:
	// nobody
}

func TestNobodyReadsIt() {}
`, 1, 11, 13, 21)
}

func TestPagesAreChecked(t *testing.T) {
	requireFound(t, page, `# Page

Nobody reads it. `+"`nobody`"+`
[nobody](`+long+`)
https://example.com/`+long+`
`+long+`

    nobody

* An item
  of whom

      nobody

| `+long+` | whoever |
|---|---|
<!-- x: make docs -->
nobody
<!-- end -->
`+"```\nnobody\n```"+`
`, 3, 6, 11, 15)
}

func TestEveryFileIsChecked(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"bad.md": "nobody", "good.md": "good", "bad.txt": "nobody"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := check(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || !strings.HasPrefix(got[0], "bad.md:1: ") {
		t.Fatalf("found %q, want one finding in bad.md", got)
	}
}
