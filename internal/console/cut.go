package console

import (
	"strings"
	"unicode/utf8"
)

// CutTo returns text, cut to at most size bytes.
func CutTo(size int, text string) string {
	if len(text) <= size {
		return text
	}
	return Cut(text, size)
}

// Cut cuts text to at most size bytes, and marks the cut with an ellipsis.
func Cut(text string, size int) string {
	const more = "…"
	text = strings.TrimSuffix(text, more)
	for size = min(size, len(text)) - len(more); size > 0 && !utf8.RuneStart(text[size]); size-- {
	}
	return text[:max(0, size)] + more
}
