package bytetext

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestEscapeChangesOnlyWhatATerminalOrJSONCannotShow(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"":                     "",
		"/run/echod.pid":       "/run/echod.pid",
		"/run/Dämon 'x' \"y\"": "/run/Dämon 'x' \"y\"",
		"/caf\xe9/x.pid":       `/caf\xe9/x.pid`,
		"\xff":                 `\xff`,
		"a\nb\tc":              `a\x0ab\x09c`,
		"\x1b[2J":              `\x1b[2J`,
		"\u202eb":              `\xe2\x80\xaeb`,
		`a\xe9`:                `a\\xe9`,
		"\ufffd":               "\ufffd",
		"ä\xc3":                `ä\xc3`,
	} {
		require.Equal(t, want, Escape(path))
		require.Equal(t, path, Unescape(want))
	}
}

func TestUnescapeAcceptsATextThatWasCut(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{`a\`: `a\`, `a\x`: `a\x`, `a\xe`: `a\xe`, `\xzz`: `\xzz`, `\n`: `\n`, `a\xe…`: `a\xe…`} {
		require.Equal(t, want, Unescape(text))
	}
}

func TestValidChangesOnlyWhatIsNotUTF8(t *testing.T) {
	t.Parallel()
	require.Equal(t, "open /caf\\xe9: \\ \n\x1b\ufffd", Valid("open /caf\xe9: \\ \n\x1b\ufffd"))
}

func FuzzEscape(f *testing.F) {
	for _, text := range []string{"", "/run/x", "caf\xe9", `\xe9`, "\ufffd\xff", "a\nb"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		require.Equal(t, text, Unescape(Escape(text)))
		require.True(t, utf8.ValidString(Escape(text)))
		require.True(t, utf8.ValidString(Valid(text)))
		_ = Unescape(text)
	})
}
