package cmdline

import "strings"

// Nearest returns the word that is most similar to typed: the first word with the fewest mistakes.
// It returns "" if every word has too many mistakes. One mistake is allowed, and in a longer word
// one for every three characters. Nearest ignores the case of typed.
func Nearest(typed string, words []string) (near string) {
	if len(typed) > 64 {
		return ""
	}
	typed = strings.ToLower(typed)
	fewest := max(1, len(typed)/3) + 1
	for _, word := range words {
		if n := mistakes([]rune(typed), []rune(word)); n < fewest {
			near, fewest = word, n
		}
	}
	return near
}

// mistakes returns the optimal string alignment distance: the number of insertions, deletions,
// substitutions and transpositions of adjacent characters that turn a into b.
func mistakes(a, b []rune) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			n := min(rows[i-1][j]+1, rows[i][j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				n = min(n, rows[i-2][j-2]+1)
			}
			rows[i][j] = n
		}
	}
	return rows[len(a)][len(b)]
}
