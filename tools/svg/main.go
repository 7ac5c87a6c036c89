// Svg draws the pictures of the documentation. Each is a text, so that a change of it can be read, and becomes an SVG beside it that is
// committed too. From the root:
//
//	go -C tools run ./svg ../docs/pictures          # draws all of them
//	go -C tools run ./svg -check ../docs/pictures   # says which are not those of their texts
//
// The first line of a text says what kind of picture it is and its title, the second what there is to see for who cannot see it:
//
//	sequence: A start in the background
//	alt: The launcher starts stage 1, which …
//
// The rest depends on the kind; see sequence, states, bars and layers. A line that begins with # is a comment, " / " breaks a text into lines. A text
// that does not fit into its place is an error.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// kinds draw the lines of a text.
var kinds = map[string]func(c *canvas, lines []string) error{
	"sequence": sequence, "states": states, "bars": bars, "layers": layers,
}

func main() {
	check := flag.Bool("check", false, "write nothing, and say what is not up to date")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: svg [-check] DIRECTORY")
		os.Exit(2)
	}
	if err := pictures(flag.Arg(0), *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pictures(dir string, check bool) error {
	texts, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err == nil && len(texts) == 0 {
		err = fmt.Errorf("%s: no pictures", dir)
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range texts {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		svg, err := draw(string(text))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
			continue
		}
		to := strings.TrimSuffix(path, ".txt") + ".svg"
		if !check {
			errs = append(errs, os.WriteFile(to, svg, 0o644))
		} else if now, err := os.ReadFile(to); err != nil || !bytes.Equal(now, svg) {
			errs = append(errs, fmt.Errorf("%s is not the picture of %s: make pictures", to, filepath.Base(path)))
		}
	}
	return errors.Join(errs...)
}

func draw(text string) ([]byte, error) {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if len(lines) < 3 {
		return nil, errors.New("too short for a picture")
	}
	kind, title, _ := strings.Cut(lines[0], ": ")
	alt, found := strings.CutPrefix(lines[1], "alt: ")
	of := kinds[kind]
	if of == nil || title == "" || !found {
		return nil, errors.New(`begins with "KIND: TITLE" and "alt: WHAT THERE IS TO SEE"`)
	}
	c := new(canvas)
	if err := errors.Join(of(c, lines[2:]), c.wrong); err != nil {
		return nil, err
	}
	return c.svg(title, alt), nil
}

// cut is strings.Cut of what must have that separator, with the space around it removed.
func cut(line, separator string) (before, after string, err error) {
	before, after, found := strings.Cut(line, separator)
	if !found {
		return "", "", fmt.Errorf("%q: no %q", line, separator)
	}
	return strings.TrimSpace(before), strings.TrimSpace(after), nil
}

// split is what stands between separators.
func split(text, separator string) []string {
	parts := strings.Split(text, separator)
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}
