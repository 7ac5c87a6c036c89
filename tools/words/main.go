// Command words checks the comments of the Go files and the prose of the Markdown pages below a
// directory:
//
//	go run ./words DIR
//
// A line must have at most 100 columns, and must not contain a word that this project does not use.
// Code, tables, generated parts, links and addresses may be wider. It prints a line for each
// finding and exits with 1 if there is one.
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	findings, err := check(flag.Arg(0))
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

// check returns the findings in the files below dir.
func check(dir string) (texts []string, err error) {
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
		for _, l := range prose(string(source)) {
			for _, text := range l.findings() {
				texts = append(texts, fmt.Sprintf("%s:%d: %s", filepath.ToSlash(name), l.number, text))
			}
		}
		return nil
	})
	return texts, err
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
