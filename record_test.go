package lifecycle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/statefile"
)

// fullStatus is a Status of which no field is zero. It is another one at each call.
func fullStatus() Status {
	at := func(second int) time.Time { return time.Date(2026, 2, 3, 4, 5, second, 678, time.UTC) }
	return Status{
		Format: 1, Name: "echod", Version: "1.2.3", PID: 4127,
		Phase: Reloading, Since: at(3), Started: at(1), Ready: at(2), Doing: "OnReload of http", Text: "serving 3 clients",
		Reloads: 7,
		LastReload: &Verdict{
			At: at(4), Began: 1111, Took: 2222, Component: "http", Hook: "OnReload", Error: "port 80: in use",
			TimedOut: true, Applied: []string{"log", "db"},
		},
		LastReopen: &Verdict{
			At: at(5), Began: 3333, Took: 4444, Component: "log", Hook: "OnReopen", Error: "disk full",
			TimedOut: true, Applied: []string{"a"},
		},
		Supervised: true, Worker: 4130, Restarts: 3,
		LastExit:    &Exit{At: at(6), PID: 4129, Code: -1, Signal: "SIGSEGV", Error: "panic: on purpose", Why: "no sign of life for 10s"},
		NextRestart: at(7), Attempt: 4, AttemptLimit: 10, GaveUp: "it has ended 10 times in 60s",
		StopBy: 5555, PIDFileLost: true, LogFile: "/var/log/echod.log",
	}
}

// fullRecord is what fullStatus is in the file, less the checksum. Other programs read this: fields may be added, nothing else.
const fullRecord = `{
	"format": 1, "name": "echod", "version": "1.2.3", "pid": 4127,
	"phase": "reloading", "since": "2026-02-03T04:05:03.000000678Z", "started": "2026-02-03T04:05:01.000000678Z",
	"ready": "2026-02-03T04:05:02.000000678Z", "doing": "OnReload of http", "text": "serving 3 clients",
	"reloads": 7,
	"last_reload": {
		"at": "2026-02-03T04:05:04.000000678Z", "began_monotonic_ns": 1111, "took_ns": 2222, "component": "http", "hook": "OnReload",
		"error": "port 80: in use", "timed_out": true, "applied": ["log", "db"]
	},
	"last_reopen": {
		"at": "2026-02-03T04:05:05.000000678Z", "began_monotonic_ns": 3333, "took_ns": 4444, "component": "log", "hook": "OnReopen",
		"error": "disk full", "timed_out": true, "applied": ["a"]
	},
	"supervised": true, "worker": 4130, "restarts": 3,
	"last_exit": {
		"at": "2026-02-03T04:05:06.000000678Z", "pid": 4129, "code": -1, "signal": "SIGSEGV", "error": "panic: on purpose", "why": "no sign of life for 10s"
	},
	"next_restart": "2026-02-03T04:05:07.000000678Z", "attempt": 4, "attempt_limit": 10, "gave_up": "it has ended 10 times in 60s",
	"stop_by_monotonic_ns": 5555, "pid_file_lost": true, "log_file": "/var/log/echod.log"
}`

func mustEncode(t testing.TB, s Status) (record []byte) {
	t.Helper()
	record, err := s.encode()
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

// recoded is the Status as who reads the file gets it.
func recoded(t testing.TB, s Status) Status {
	t.Helper()
	return mustDecode(t, mustEncode(t, s))
}

// sealed returns a record with that text and the right checksum, whatever the text says. The text has
// no closing brace.
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

func TestARecordComesBackAsItWas(t *testing.T) {
	noFieldIsZero(t, reflect.ValueOf(fullStatus()))
	require.Equal(t, fullStatus(), recoded(t, fullStatus()))
	require.Equal(t, Status{Format: 1}, recoded(t, Status{}))
	for p := Starting; p <= Exited; p++ {
		require.Equal(t, Status{Format: 1, Phase: p}, recoded(t, Status{Phase: p}))
	}

	now := time.Now()
	local := recoded(t, Status{Since: now}).Since
	require.True(t, local.Equal(now), "to the nanosecond, in whatever time zone")
}

func noFieldIsZero(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		require.False(t, v.Field(i).IsZero(), "fullStatus has no %s", v.Type().Field(i).Name)
		if v.Field(i).Kind() == reflect.Pointer {
			noFieldIsZero(t, v.Field(i).Elem())
		}
	}
}

func TestTheFileIsOneJSONObjectWithTheFieldsThatAreDocumented(t *testing.T) {
	fields := func(s Status) (all map[string]any) {
		require.NoError(t, json.Unmarshal(mustEncode(t, s), &all))
		require.Regexp(t, `^[0-9a-f]{16}$`, all["sum"])
		return all
	}
	full := fields(fullStatus())
	delete(full, "sum")
	text, err := json.Marshal(full)
	require.NoError(t, err)
	require.JSONEq(t, fullRecord, string(text))

	require.ElementsMatch(t, slices.Collect(maps.Keys(fields(Status{}))),
		[]string{"format", "name", "pid", "phase", "since", "started", "reloads", "sum"}, "a field that does not apply is left out")
	fine := fields(Status{LastReload: &Verdict{}})["last_reload"].(map[string]any)
	require.ElementsMatch(t, slices.Collect(maps.Keys(fine)), []string{"at", "began_monotonic_ns", "took_ns"})
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
			require.Greater(t, len(kept), statefile.Size/2, "no more is cut than needed")
			got.Text = long
			require.Equal(t, want, got)
		}
	}
}

func TestTheLongestTextIsCutFirst(t *testing.T) {
	want := fullStatus()
	want.LastReload.Error = strings.Repeat("x", 10_000)
	want.Doing = strings.Repeat("y", 1000)
	got := recoded(t, want)
	require.Equal(t, want.Doing, got.Doing)
	require.Regexp(t, `^x{1000}x*…$`, got.LastReload.Error)
}

func TestATextOfAnyLengthThatFitsIsKept(t *testing.T) {
	fits := 0
	for length := 3800; length < 4096; length++ {
		text := strings.Repeat("x", length)
		if recoded(t, Status{Text: text}).Text == text {
			require.Equal(t, length-3800, fits, "a shorter one was cut")
			fits++
		}
	}
	require.Positive(t, fits)
	require.Less(t, fits, 296)
}

func TestOfManyComponentsTwentyAreNamed(t *testing.T) {
	names := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("component %d", i))
		}
		return all
	}
	want := fullStatus()
	want.LastReload.Applied = names(25)
	require.Equal(t, want, recoded(t, want), "what fits is kept")

	want.LastReload.Applied = names(10_000)
	require.Equal(t, append(names(19), "… and 9981 more"), recoded(t, want).LastReload.Applied)
}

// fillers are texts that become longer in JSON.
var fillers = []string{"x", "\x00", "\x1b[2J", `"`, `\`, "<&>", "\u2028", "\xff", "\x80", "ä", "\xf0\x9f", "😀", "\n"}

// hugeStatus is a Status whose texts are all as long.
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

func TestWhateverTheTextsAreTheRecordFits(t *testing.T) {
	for _, filler := range fillers {
		s := hugeStatus(filler, 500)
		got := recoded(t, s)
		require.Equal(t, s.Since, got.Since)
		require.Equal(t, s.LastReload.Took, got.LastReload.Took)
		for _, v := range []*Verdict{got.LastReload, got.LastReopen} {
			require.Len(t, v.Applied, 20)
			for _, text := range slices.Concat(v.Applied, []string{got.Name, got.Version, got.Doing, got.Text, v.Component, v.Hook, v.Error}) {
				require.NotEmpty(t, text)
				require.True(t, utf8.ValidString(text))
			}
		}
	}
	for length := range 64 { // where one more byte does not fit, and where nothing can be cut any more
		recoded(t, hugeStatus("\x00", 40+length))
	}
}

func TestEncodingChangesNothing(t *testing.T) {
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
		require.EqualError(t, err, "the record has format "+strconv.Itoa(format)+", where this program knows format 1")
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
			require.Equal(t, string(text), string(whole), "what fits is not cut")
		}
	})
}
