package console

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSanitizedTextIsOneLineWithoutTerminalCommands(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "",
		" a\tb \n":           "a b",
		"one\r\ntwo":         "one  two",
		"one\u2028two":       "one two",
		"\x1b[31mred\x1b[0m": "\ufffd[31mred\ufffd[0m",
		"a\x00\x7f\u009bb":   "a\ufffd\ufffd\ufffdb",
		"\u202eback":         "\ufffdback",
		"\xffa\xc3":          `\xffa\xc3`,
		"Größe 5 µm – 漢字 😀":  "Größe 5 µm – 漢字 😀",
	} {
		require.Equal(t, want, SanitizeInline(text))
	}
}

func TestAQuotedLineDoesNotLookLikeALineOfTheProgram(t *testing.T) {
	require.Equal(t, "echod: no\n  | echod: yes\n  | \ufffd[2J", SanitizeMessage("echod: no\nechod: yes\n  | \x1b[2J\n"))
}

func TestSanitizedJSONIsTheSameTextWithoutTerminalCommands(t *testing.T) {
	const text = "a\x1b\x7f\u009b\u202e\U000e0001 漢字\n"
	encoded, err := json.Marshal(text)
	require.NoError(t, err)
	sanitized := SanitizeJSON(encoded)
	require.Equal(t, sanitized, SanitizeLine(sanitized))
	var decoded string
	require.NoError(t, json.Unmarshal([]byte(sanitized), &decoded))
	require.Equal(t, text, decoded)
}
