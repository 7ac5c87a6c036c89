// Package bytetext turns bytes of the system into text for messages and for JSON. A path, an
// argument or the name of a program can contain any byte except NUL, but text is UTF-8.
//
// The text is only for display. Code compares and opens the bytes.
package bytetext

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape returns a path as one line of printable UTF-8. A backslash becomes \\. Each byte that is
// not part of a printable character becomes \xHH. Other characters do not change. [Unescape]
// reverses Escape, and so does `printf %b` of a shell.
func Escape(path string) string {
	return escape(path, func(r rune) bool { return r == '\\' || !unicode.IsPrint(r) })
}

// Valid returns the text as UTF-8: each byte that is not part of a character becomes \xHH.
func Valid(text string) string {
	return escape(text, func(rune) bool { return false })
}

// escape escapes invalid bytes, and each character for which special returns true.
func escape(text string, special func(rune) bool) string {
	var b strings.Builder
	done := 0 // text[:done] is in b
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRuneInString(text[at:])
		next := at + size
		if invalid := r == utf8.RuneError && size == 1; invalid || special(r) {
			b.WriteString(text[done:at])
			if r == '\\' {
				b.WriteString(`\\`)
			} else {
				for _, c := range []byte(text[at:next]) {
					fmt.Fprintf(&b, `\x%02x`, c)
				}
			}
			done = next
		}
		at = next
	}
	if done == 0 {
		return text
	}
	return b.String() + text[done:]
}

// Unescape returns the path for which [Escape] returned the text. It does not change a part of the
// text that Escape cannot have written.
func Unescape(text string) string {
	var b strings.Builder
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, `\`)
		b.WriteString(before)
		if !found {
			break
		}
		rest = after
		if strings.HasPrefix(after, `\`) {
			b.WriteByte('\\')
			rest = after[1:]
		} else if c, ok := hexByte(after); ok {
			b.WriteByte(c)
			rest = after[len("xHH"):]
		} else {
			b.WriteByte('\\')
		}
	}
	return b.String()
}

func hexByte(text string) (c byte, ok bool) {
	if len(text) < len("xHH") || text[0] != 'x' {
		return 0, false
	}
	n, err := strconv.ParseUint(text[1:3], 16, 8)
	return byte(n), err == nil
}
