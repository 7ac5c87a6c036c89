package lifecycle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc64"
	"math/bits"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the pages say in tables and numbers, the code says too. These tests keep the two together.

const (
	lifePage    = "docs/life.md"
	pidFilePage = "docs/pidfile.md"

	handshakePage = "docs/handshake.md"
	signalsPage   = "docs/signals.md"
)

func readPage(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// columnsOf are the first columns of the first table after a text that has these heads.
func columnsOf(t *testing.T, path, after string, heads ...string) (rows []string) {
	t.Helper()
	_, text, found := strings.Cut(readPage(t, path), after)
	require.True(t, found, "%s says nowhere %q", path, after)
	head := "\n\n| " + strings.Join(heads, " | ") + " |"
	_, text, found = strings.Cut(text, head)
	require.True(t, found, "%s has no such table behind %q: %s", path, after, head)
	table, _, _ := strings.Cut(text, "\n\n")
	for _, row := range strings.Split(strings.TrimSpace(table), "\n")[2:] {
		cells := strings.SplitN(row, " | ", len(heads)+1)
		rows = append(rows, strings.TrimPrefix(strings.Join(cells[:len(heads)], " | "), "| "))
	}
	return rows
}

// phaseText is the name of the constant.
func phaseText(p Phase) string {
	name := p.String()
	return "`" + strings.ToUpper(name[:1]) + name[1:] + "`"
}

func TestDocsNameEveryPhase(t *testing.T) {
	var want []string
	for phase := range Phase(len(phaseNames)) {
		want = append(want, phaseText(phase))
	}
	require.Equal(t, want, columnsOf(t, lifePage, "## States", "phase"))
}

// requireTimes requires that these are the times that the page names.
func requireTimes(t *testing.T, path string, times ...time.Duration) {
	t.Helper()
	want, got := map[string]bool{}, map[string]bool{}
	for _, d := range times {
		want[timeText(d)] = true
	}
	for _, text := range regexp.MustCompile(`\b\d+ m?s\b`).FindAllString(readPage(t, path), -1) {
		got[text] = true
	}
	require.Equal(t, want, got, "the times on %s", path)
}

func timeText(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprintf("%d ms", d/time.Millisecond)
}

// The record is read here as the page tells those to whom our code is no help.
func TestDocsTellHowToReadARecord(t *testing.T) {
	record, err := Status{Name: "echod", PID: 4127, Text: strings.Repeat("text ", 2000)}.encode()
	require.NoError(t, err)
	require.Len(t, record, 4096)
	require.Regexp(t, `,"sum":"[0-9a-f]{16}"}\n$`, string(record))
	body, sum := record[:4069], string(record[4069+len(`,"sum":"`):4096-len(`"}`)-1])
	require.Equal(t, sum, fmt.Sprintf("%016x", crc64.Checksum(body, crc64.MakeTable(crc64.ECMA))))
	require.Equal(t, uint64(0x42F0E1EBA9EA3693), bits.Reverse64(crc64.ECMA))
	require.Equal(t, "995dc9bbdf1939fa", fmt.Sprintf("%x", crc64.Checksum([]byte("123456789"), crc64.MakeTable(crc64.ECMA))))
	var object struct {
		PID       int `json:"pid"`
		Text, Sum string
	}
	require.NoError(t, json.Unmarshal(record, &object))
	require.Equal(t, 4127, object.PID)
	require.Equal(t, sum, object.Sum)
	require.True(t, strings.HasSuffix(object.Text, "…"))

	page := readPage(t, pidFilePage)
	for _, fact := range []string{
		"exactly 4096 bytes", "the 26 before it", "the 4069 bytes before these 26", "0x42F0E1EBA9EA3693", "`995dc9bbdf1939fa`",
		fmt.Sprintf("of the record: %d |", recordFormat),
	} {
		require.Contains(t, page, fact)
	}
}

func TestDocsShowWhatStatusAnswers(t *testing.T) {
	example := regexp.MustCompile("(?s)```json\n(.*?\n)```").FindStringSubmatch(readPage(t, pidFilePage))
	require.NotNil(t, example)
	var r report
	d := json.NewDecoder(strings.NewReader(example[1]))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&r))
	var again bytes.Buffer
	e := json.NewEncoder(&again)
	e.SetIndent("", "  ")
	require.NoError(t, e.Encode(r))
	require.Equal(t, again.String(), example[1])
}
