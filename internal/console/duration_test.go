package console

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALimitIsFormattedAsItWasConfigured(t *testing.T) {
	require.Equal(t, "60s", FormatLimit(time.Minute))
	require.Equal(t, "1.5s", FormatLimit(1500*time.Millisecond))
	require.Equal(t, "200ms", FormatLimit(200*time.Millisecond))
}

func TestAnAgeHasAtMostTwoUnits(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		-1 << 63:                         "0s",
		-time.Second:                     "0s",
		0:                                "0s",
		time.Second - 1:                  "0s",
		time.Second:                      "1s",
		12345 * time.Millisecond:         "12s",
		time.Minute - 1:                  "59s",
		time.Minute:                      "1m",
		5*time.Minute + 59*time.Second:   "5m",
		time.Hour - 1:                    "59m",
		time.Hour:                        "1h",
		time.Hour + time.Minute:          "1h1m",
		3*time.Hour + 12*time.Minute:     "3h12m",
		day - 1:                          "23h59m",
		day:                              "1d0h",
		4*day + 3*time.Hour + 59*60*1e9:  "4d3h",
		365 * day:                        "365d0h",
		1<<63 - 1:                        "106751d23h",
		10*time.Hour + 59*time.Second:    "10h",
		23*time.Hour + 1*time.Minute - 1: "23h",
	} {
		require.Equal(t, want, FormatAge(d), "%d ns", int64(d))
	}
}

func TestElapsedTimeIsFormattedByItsSize(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                 "0 ms",
		999 * time.Microsecond:            "0 ms",
		38 * time.Millisecond:             "38 ms",
		time.Second - 1:                   "999 ms",
		time.Second:                       "1 s",
		1040 * time.Millisecond:           "1 s",
		1200 * time.Millisecond:           "1.2 s",
		59*time.Second + 900*1000*1000:    "59.9 s",
		time.Minute:                       "1m0s",
		3*time.Minute + 12*time.Second:    "3m12s",
		3*time.Minute + 12600*1000*1000:   "3m13s",
		2*time.Hour + 400*time.Nanosecond: "2h0m0s",
	} {
		require.Equal(t, want, FormatElapsed(d))
	}
}
