package console

import (
	"fmt"
	"strings"
	"time"
)

// FormatLimit formats a configured duration: 60s, not 1m0s.
func FormatLimit(d time.Duration) string {
	if d >= time.Second && d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return d.String()
}

// FormatElapsed formats an elapsed time: 38 ms, 1.2 s, 3m12s.
func FormatElapsed(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	}
	return d.Round(time.Second).String()
}

// FormatAge formats an age in at most two units: 12s, 5m, 3h12m, 4d3h. It returns 0s for a negative
// age. An age is negative if the clock was set back.
func FormatAge(d time.Duration) string {
	minutes := int(d.Minutes())
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case minutes < 60:
		return fmt.Sprintf("%dm", minutes)
	case minutes < 24*60 && minutes%60 == 0:
		return fmt.Sprintf("%dh", minutes/60)
	case minutes < 24*60:
		return fmt.Sprintf("%dh%dm", minutes/60, minutes%60)
	}
	return fmt.Sprintf("%dd%dh", minutes/60/24, minutes/60%24)
}
