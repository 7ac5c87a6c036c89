package origin

import (
	"slices"
	"strings"
)

// WithVerb returns args with verb replaced by other. A verb may have several words. WithVerb looks
// for verb at the beginning, at the end, and right before "--". found is false if verb is at none
// of these places. It is also false if verb occurs twice, because WithVerb cannot know which words
// are the verb.
func WithVerb(args, verb []string, other ...string) (replaced []string, found bool) {
	at := place(args, verb)
	if at < 0 {
		return args, false
	}
	return slices.Concat(args[:at], other, args[at+len(verb):]), true
}

func place(args, verb []string) (found int) {
	found = -1
	for at := range len(args) - len(verb) + 1 {
		if !slices.Equal(args[at:at+len(verb)], verb) {
			continue
		}
		end := at + len(verb)
		if found >= 0 || at > 0 && end < len(args) && args[end] != "--" {
			return -1
		}
		found = at
	}
	return found
}

// HasFlag reports whether one of the words is a flag: a word that begins with a dash, or that sets
// a name to a value.
func HasFlag(words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool {
		return strings.HasPrefix(word, "-") || strings.Contains(word, "=")
	})
}

// Contains reports whether all words occur in args, in their order.
func Contains(args, words []string) bool {
	for _, word := range words {
		at := slices.Index(args, word)
		if at < 0 {
			return false
		}
		args = args[at+1:]
	}
	return true
}
