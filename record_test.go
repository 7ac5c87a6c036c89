package lifecycle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/statefile"
)

func mustEncode(t testing.TB, s Status) (record []byte) {
	t.Helper()
	record, err := s.encode(nil)
	require.NoError(t, err)
	require.Len(t, record, 4096)
	require.True(t, bytes.HasSuffix(record, []byte("}\n")), "the file ends with a newline")
	require.True(t, utf8.Valid(record))
	require.True(t, json.Valid(record), "%s", record)
	return record
}

func mustDecode(t testing.TB, record []byte) Status {
	t.Helper()
	s, err := decodeRecord(record)
	require.NoError(t, err, "%s", record)
	return s
}

func decodeRecord(record []byte) (Status, error) {
	object, err := statefile.Unseal(record)
	if err != nil {
		return Status{}, err
	}
	return decodeStatus(object)
}

// recoded returns the Status that a reader of the file gets.
func recoded(t testing.TB, s Status) Status {
	t.Helper()
	return mustDecode(t, mustEncode(t, s))
}

// sealed returns a record with that text and the right checksum, for any text. The text has no
// closing brace.
func sealed(text string) (record []byte) {
	record, _ = statefile.Seal([]byte(text + "}"))
	return record
}

// bodyOf returns the JSON object of a record without its closing brace.
func bodyOf(t testing.TB, record []byte) string {
	t.Helper()
	object, err := statefile.Unseal(record)
	require.NoError(t, err)
	return strings.TrimSuffix(string(object), "}")
}

func TestATextThatIsTooLongIsCutAtARuneAndTheOthersAreKept(t *testing.T) {
	for _, letter := range []string{"x", "ä", "…", "😀"} {
		for _, before := range []string{"", "1", "12", "123"} {
			long := before + strings.Repeat(letter, 5000)
			want := fullStatus()
			want.Text = long
			got := recoded(t, want)

			kept, marked := strings.CutSuffix(got.Text, "…")
			require.True(t, marked, got.Text)
			require.True(t, utf8.ValidString(kept))
			require.True(t, strings.HasPrefix(long, kept))
			require.Greater(t, len(kept), statefile.Size/3, "encode cuts no more than necessary")
			got.Text = long
			require.Equal(t, want, got)
		}
	}
}

func TestTheLongestTextIsCutFirst(t *testing.T) {
	want := fullStatus()
	want.LastReload.Error = strings.Repeat("x", 10_000)
	want.Doing = strings.Repeat("y", 500)
	got := recoded(t, want)
	require.Equal(t, want.Doing, got.Doing)
	require.Regexp(t, `^x{500}x*…$`, got.LastReload.Error)
}

func TestATextOfAnyLengthThatFitsIsKept(t *testing.T) {
	fits := 0
	for length := 3800; length < 4096; length++ {
		text := strings.Repeat("x", length)
		if recoded(t, Status{Text: text}).Text == text {
			require.Equal(t, length-3800, fits, "encode cut a text that fits")
			fits++
		}
	}
	require.Positive(t, fits)
	require.Less(t, fits, 296)
}

func TestARecordNamesAtMostTwentyComponents(t *testing.T) {
	names := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("component %d", i))
		}
		return all
	}
	want := fullStatus()
	want.LastReload.Applied = names(25)
	require.Equal(t, want, recoded(t, want), "encode keeps a list that fits")

	want.LastReload.Applied = names(10_000)
	require.Equal(t, append(names(19), "… and 9981 more"), recoded(t, want).LastReload.Applied)
}

// fillers are texts that become longer in JSON.
var fillers = []string{"x", "\x00", "\x1b[2J", `"`, `\`, "<&>", "\u2028", "\xff", "\x80", "ä", "\xf0\x9f", "😀", "\n"}

// hugeStatus returns a Status whose texts all have this length.
func hugeStatus(filler string, length int) Status {
	s := fullStatus()
	text := strings.Repeat(filler, length/len(filler))
	s.Name, s.Version, s.Doing, s.Text = text, text, text, text
	for _, v := range []*Verdict{s.LastReload, s.LastReopen} {
		v.Component, v.Hook, v.Error = text, text, text
		v.Applied = slices.Repeat([]string{text[:len(text)/10]}, 1000)
	}
	return s
}

func TestARecordFitsForAnyTexts(t *testing.T) {
	for _, filler := range fillers {
		s := hugeStatus(filler, 500)
		got := recoded(t, s)
		require.Equal(t, s.Since, got.Since)
		require.Equal(t, s.LastReload.Took, got.LastReload.Took)
		for _, v := range []*Verdict{got.LastReload, got.LastReopen} {
			require.Len(t, v.Applied, 20)
			for _, text := range slices.Concat(v.Applied, []string{got.Name, got.Version, got.Doing, got.Text, v.Component, v.Hook, v.Error}) {
				require.NotEmpty(t, text)
			}
			// Names can contain any bytes.
			for _, text := range []string{got.Version, got.Doing, got.Text, v.Error} {
				require.True(t, utf8.ValidString(text))
			}
		}
	}
	for length := range 64 { // around the limits: one byte too many, and no text left to cut
		recoded(t, hugeStatus("\x00", 40+length))
	}
}

func TestEncodeDoesNotChangeTheStatus(t *testing.T) {
	for _, filler := range fillers[:5] {
		s, want := hugeStatus(filler, 500), hugeStatus(filler, 500)
		mustEncode(t, s)
		require.Equal(t, want, s)
	}
	require.Equal(t, mustEncode(t, fullStatus()), mustEncode(t, fullStatus()))
}

func TestAnObjectThatIsNoStatusIsRefused(t *testing.T) {
	for _, text := range []string{"", "{", "[", `{"format":1}`, `{"format":1,`, `"format"`, `{"format":1,"phase":"no such"`, `{"format":1,"pid":"1"`} {
		s, err := decodeRecord(sealed(text))
		require.Error(t, err, text)
		require.Zero(t, s, text)
	}
}

func TestAnotherFormatIsRefusedAndNamed(t *testing.T) {
	record := bodyOf(t, mustEncode(t, fullStatus()))
	require.Equal(t, fullStatus(), mustDecode(t, sealed(record)))
	for _, format := range []int{2, 0, -1, 1000} {
		other := strings.Replace(record, `{"format":1,`, fmt.Sprintf(`{"format":%d,`, format), 1)
		s, err := decodeRecord(sealed(other))
		require.EqualError(t, err, "the record has format "+strconv.Itoa(format)+", but this program reads format 1")
		require.Zero(t, s)
	}
}

func TestFieldsMayBeAddedWithoutAnotherFormat(t *testing.T) {
	record := bodyOf(t, mustEncode(t, fullStatus()))
	require.Equal(t, fullStatus(), mustDecode(t, sealed(record+`,"parent":{"pid":4130},"phase_of_the_moon":"full"`)))
}

func FuzzRecord(f *testing.F) {
	for _, filler := range fillers {
		record := mustEncode(f, hugeStatus(filler, 100))
		f.Add(record)
		f.Add([]byte(bodyOf(f, record)))
	}
	for _, text := range []string{
		"", "{", `{"format":1`, `{"format":1,"last_reload":{"applied":[]}`, `{"format":1,"since":"9999-12-31T23:59:59.999999999+23:59"`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeRecord(b)
		if len(b) >= statefile.MaxObject {
			return
		}
		s, err := decodeRecord(sealed(string(b)))
		if err != nil {
			require.Zero(t, s)
			return
		}
		record := mustEncode(t, s)
		again := mustDecode(t, record)
		require.Equal(t, record, mustEncode(t, again))
		text, err := json.Marshal(s)
		require.NoError(t, err)
		if len(text) <= statefile.MaxObject {
			whole, err := json.Marshal(again)
			require.NoError(t, err)
			require.Equal(t, string(text), string(whole), "encode does not cut a text that fits")
		}
	})
}
