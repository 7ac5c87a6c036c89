package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

// line is a line of prose.
type line struct {
	number int
	source string // the whole line of the file; "" if its width is not checked
	text   string // without code and links
}

var (
	codeSpan = regexp.MustCompile("`[^`]*`")
	link     = regexp.MustCompile(`\[[^\]]*\]\([^)]*\)`)
	docLink  = regexp.MustCompile(`\[\*?[\w./]+\]`)
	address  = regexp.MustCompile(`https?://\S+`)
	testName = regexp.MustCompile(`\bTest\w+`)
	userName = regexp.MustCompile(`\buser nobody\b`)
)

// withoutCode returns text without code, links, addresses, and names of tests and users.
func withoutCode(text string) string {
	for _, code := range []*regexp.Regexp{link, docLink, codeSpan, address, testName, userName} {
		text = code.ReplaceAllString(text, "")
	}
	return text
}

// comments returns the lines of the comments of a Go file, and the names of its tests as words.
// Indented lines are code, as in go doc.
func comments(source string) (lines []line) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil // go vet reports it
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && testName.MatchString(f.Name.Name) {
			lines = append(lines, line{number: files.Position(f.Pos()).Line, text: wordsOf(f.Name.Name)})
		}
	}
	whole := strings.Split(source, "\n")
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if output.MatchString(comment.Text) {
				break
			}
			if directive.MatchString(comment.Text) {
				continue
			}
			first := files.Position(comment.Pos()).Line
			for i, text := range strings.Split(comment.Text, "\n") {
				text, oneLine := strings.CutPrefix(text, "//")
				if oneLine && strings.HasPrefix(text, "\t") {
					continue
				}
				l := line{number: first + i, source: whole[first+i-1], text: withoutCode(text)}
				if address.MatchString(text) {
					l.source = ""
				}
				lines = append(lines, l)
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.number - b.number })
	return lines
}

// wordsOf returns the words of a name, with spaces between them.
func wordsOf(name string) string {
	return capital.ReplaceAllString(article.ReplaceAllString(name, "$1 $2"), "$1 $2")
}

var (
	capital = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	article = regexp.MustCompile(`([A-Z])([A-Z][a-z])`)
)

var (
	// directive matches comments that are not for people.
	directive = regexp.MustCompile(`^//(go:|nolint|line |export )`)
	// output matches the comment before the output of an example.
	output = regexp.MustCompile(`(?i)^//\s*(unordered )?output:`)
)

var indented = regexp.MustCompile(`^(    |\t)`)

// page returns the lines of the prose of a Markdown page. The lines of tables may be wide. Code and
// generated parts are left out.
func page(source string) (lines []line) {
	var code, generated, list bool
	blank := true
	for i, text := range strings.Split(source, "\n") {
		item := strings.HasPrefix(text, "* ") || numbered.MatchString(text)
		switch {
		case strings.HasPrefix(strings.TrimSpace(text), "```"):
			code = !code
		case code:
		case strings.HasPrefix(text, "<!-- end"):
			generated = false
		case strings.HasPrefix(text, "<!--"):
			generated = strings.Contains(text, "make docs")
		case generated:
		case indented.MatchString(text) && blank && !list || strings.HasPrefix(text, "      "):
		case strings.HasPrefix(text, "|"):
			lines = append(lines, line{number: i + 1, text: withoutCode(text)})
		default:
			l := line{number: i + 1, source: text, text: withoutCode(text)}
			if address.MatchString(text) {
				l.source = ""
			} else if link.MatchString(text) {
				l.source = link.ReplaceAllString(text, "")
			}
			lines = append(lines, l)
		}
		list = item || list && (text == "" || strings.HasPrefix(text, " "))
		blank = text == "" || blank && indented.MatchString(text)
	}
	return lines
}

var numbered = regexp.MustCompile(`^\d+\. `)
