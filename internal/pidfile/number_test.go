package pidfile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// noPIDs maps contents that are no PID to the number that a lenient parser would find in them.
var noPIDs = map[string]string{
	"":                              "nothing",
	"\n":                            "nothing",
	"0\n":                           "kill(2): every process of the group",
	"-1\n":                          "kill(2): every process",
	"-4242\n":                       "kill(2): a group of processes",
	"+7\n":                          "7",
	" 7\n":                          "7",
	"7 \n":                          "7",
	"7\r\n":                         "7",
	"7\n\n":                         "7",
	"7\x00":                         "7",
	"\x007":                         "7",
	"\x00\x00\x00\x00":              "nothing; what a crash leaves of a file that was not synced",
	"012\n":                         "12, or 10",
	"0x17\n":                        "23",
	"1e3\n":                         "1, or 1000",
	"12abc\n":                       "12",
	"12\n13":                        "12",
	"12\n13\n":                      "12",
	"1_000\n":                       "1000",
	"7.0\n":                         "7",
	"٤٢\n":                          "42, in Arabic digits",
	"４２\n":                          "42, in wide digits",
	"\ufeff7\n":                     "7, after a byte order mark",
	"2147483648\n":                  "a negative pid_t",
	"4294967296\n":                  "0 as a pid_t",
	"4294967297\n":                  "1 as a pid_t",
	"9999999999\n":                  "more than an int has on some systems",
	"99999999999999999999\n":        "more than an int64",
	"18446744073709551617\n":        "1 as a uint64",
	strings.Repeat("9", 64) + "\n":  "65 bytes",
	strings.Repeat("0", 63) + "7":   "7",
	"7" + strings.Repeat("\n", 63):  "7",
	strings.Repeat("9", 1<<20):      "1 MiB of digits",
	"7\n" + strings.Repeat(" ", 64): "7",
}

// Row C5.
func TestOnlyAPlainNumberIsAPID(t *testing.T) {
	for text, lenient := range noPIDs {
		require.Zero(t, parsePID([]byte(text)), "%.70q, which a lenient reader may take for %s", text, lenient)
	}
	for _, pid := range []int{1, 2, 9, 10, 42, 12345} {
		require.Equal(t, pid, parsePID(fmt.Append(nil, pid)))
		require.Equal(t, pid, parsePID(fmt.Appendln(nil, pid)))
	}
}

// Row C6.
func TestANumberAbovePIDMaxIsNoPID(t *testing.T) {
	require.Positive(t, maxPID())
	require.EqualValues(t, maxPID(), parsePID(fmt.Appendln(nil, maxPID())))
	require.Zero(t, parsePID(fmt.Appendln(nil, maxPID()+1)))
}

func FuzzPID(f *testing.F) {
	for text := range noPIDs {
		f.Add([]byte(text))
	}
	f.Add([]byte("1"))
	f.Add([]byte("42\n"))
	f.Add(fmt.Appendln(nil, maxPID()))
	form := regexp.MustCompile(`^[1-9][0-9]{0,9}\n?$`)
	f.Fuzz(func(t *testing.T, text []byte) {
		want := 0
		if len(text) <= 64 && form.Match(text) {
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			require.NoError(t, err)
			if n <= maxPID() {
				want = int(n)
			}
		}
		require.Equal(t, want, parsePID(text), "%q", text)
	})
}
