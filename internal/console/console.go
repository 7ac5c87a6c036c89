// Package console makes the text that a terminal shows: sanitized strings, durations, colours and a
// progress line. A terminal must not execute text from another process as a command.
package console

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"

	"example.com/lifecycle/internal/sys/bytetext"
)

// QuoteMark begins each line that the program quotes from another source.
const QuoteMark = "  | "

// SanitizeLine replaces characters that a terminal would execute. Control and format characters
// become U+FFFD. White space other than a tab becomes a space. Bytes that are not UTF-8, as in a
// path, become \xHH.
func SanitizeLine(line string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case unicode.IsSpace(r):
			return ' '
		case unprintable(r):
			return unicode.ReplacementChar
		}
		return r
	}, bytetext.Valid(line))
}

// SanitizeInline returns text for insertion into a line of the program. It trims the text, replaces
// tabs with spaces, and sanitizes it as [SanitizeLine] does.
func SanitizeInline(text string) string {
	return strings.ReplaceAll(SanitizeLine(strings.TrimSpace(text)), "\t", " ")
}

// SanitizeMessage sanitizes each line. It begins all lines except the first with [QuoteMark]. Text
// of another process then cannot look like a line of the program.
func SanitizeMessage(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = SanitizeLine(line)
		if i > 0 && !strings.HasPrefix(line, QuoteMark) {
			lines[i] = QuoteMark + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// SanitizeJSON returns the JSON text with an escape sequence for each control or format character.
// encoding/json escapes only the first 32 of them.
func SanitizeJSON(text []byte) string {
	var b strings.Builder
	for _, r := range string(text) {
		if r == '\n' || !unprintable(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// unprintable reports whether r is a control or format character.
func unprintable(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }
