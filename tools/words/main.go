// Command words checks the comments of the Go files and the prose of the Markdown pages below a
// directory:
//
//	go run ./words [-baseline FILE] DIR
//
// A line must have at most 100 columns, and must not contain a word that this project does not use.
// Code, tables, generated parts, links and addresses may be wider. It prints a line for each
// finding and exits with 1 if there is one.
//
// The baseline names files that may still have findings. A file in the baseline without a finding
// is itself a finding, so the baseline only shrinks.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	baseline := flag.String("baseline", "", "`file` with the paths of files that may have findings")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	findings, err := check(flag.Arg(0), *baseline)
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(2)
	}
	for _, text := range findings {
		fmt.Println(text)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}

// check returns the findings in the files below dir, except in files that the baseline names.
func check(dir, baseline string) (texts []string, err error) {
	exempt, err := readBaseline(baseline)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); name == ".git" || name == "node_modules" || name == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		prose := proseOf(filepath.Ext(path))
		if prose == nil || !entry.Type().IsRegular() {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		var found []string
		for _, l := range prose(string(source)) {
			for _, text := range l.findings() {
				found = append(found, fmt.Sprintf("%s:%d: %s", name, l.number, text))
			}
		}
		if i := slices.Index(exempt, name); i >= 0 {
			exempt = slices.Delete(exempt, i, i+1)
			if len(found) > 0 {
				return nil
			}
			found = []string{name + ": has no finding: remove it from " + baseline}
		}
		texts = append(texts, found...)
		return nil
	})
	for _, name := range exempt {
		texts = append(texts, name+": does not exist: remove it from "+baseline)
	}
	return texts, err
}

// readBaseline returns the paths in the file, one in each line. No file name means no paths.
func readBaseline(name string) ([]string, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

// proseOf returns the function that finds the prose of files with this extension, nil if they have
// none.
func proseOf(extension string) func(source string) []line {
	switch extension {
	case ".go":
		return comments
	case ".md":
		return page
	default:
		return nil
	}
}
