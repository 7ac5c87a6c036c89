// Package console makes the text that a terminal is shown: sanitized strings, durations, colours
// and a progress line. Text that comes from another process must never act as a terminal command.
package console

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
)

// QuoteMark stands before each line that the program quotes and has not written itself.
const QuoteMark = "  | "

// SanitizeLine replaces what a terminal would execute: control and format characters become U+FFFD,
// and all white space but a tab becomes a space.
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
	}, line)
}

// SanitizeInline makes one line of text that is put into a line of the program: it trims the text,
// replaces tabs by spaces, and sanitizes it as [SanitizeLine] does.
func SanitizeInline(text string) string {
	return strings.ReplaceAll(SanitizeLine(strings.TrimSpace(text)), "\t", " ")
}

// SanitizeMessage sanitizes each line. It quotes all lines but the first with [QuoteMark], so that
// no text from elsewhere can pass for a line of the program.
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

// SanitizeJSON escapes in JSON the characters that [SanitizeLine] replaces. encoding/json escapes
// only the first 32 of them.
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
