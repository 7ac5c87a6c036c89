package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Row H1.
func TestTheDelayDoublesUntilItIsGivenUp(t *testing.T) {
	t.Parallel()
	r := row{policy: RestartPolicy{Limit: 8, MinDelay: time.Second, MaxDelay: 10 * time.Second, Window: time.Hour}.completed()}
	now := time.Now()
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10, 10} {
		delay, again, _ := r.next(end{at: now, Exit: Exit{Code: 1}})
		require.True(t, again)
		require.LessOrEqual(t, delay, want*time.Second)
		require.GreaterOrEqual(t, delay, want*time.Second*3/4)
		now = now.Add(delay)
	}
	_, again, why := r.next(end{at: now, Exit: Exit{Code: 1}})
	require.False(t, again)
	require.Equal(t, "it has ended 8 times in 3600s", why)
}

// Rows H4, H6.
func TestWhatIsNotRetried(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		policy RestartPolicy
		code   int
		again  bool
		why    string
	}{
		{RestartPolicy{}, 0, false, ""},
		{RestartPolicy{Always: true}, 0, true, ""},
		{RestartPolicy{}, 1, true, ""},
		{RestartPolicy{}, 2, true, ""},
		{RestartPolicy{}, -1, true, ""},
		{RestartPolicy{}, 78, false, "exit 78 is final"},
		{RestartPolicy{Always: true}, 64, false, "exit 64 is final"},
		{RestartPolicy{Permanent: []int{}}, 78, true, ""},
		{RestartPolicy{Permanent: []int{3}}, 3, false, "exit 3 is final"},
		{RestartPolicy{Permanent: []int{3}}, 78, true, ""},
	} {
		r := row{policy: tt.policy.completed()}
		_, again, why := r.next(end{at: time.Now(), Exit: Exit{Code: tt.code}})
		require.Equal(t, tt.again, again, "%+v", tt)
		require.Equal(t, tt.why, why, "%+v", tt)
	}
}

// Row H11.
func TestAWorkerThatWasReadyForLongStartsANewRow(t *testing.T) {
	t.Parallel()
	r := row{policy: RestartPolicy{MinDelay: time.Second}.completed()}
	now := time.Now()
	for range 4 {
		_, _, _ = r.next(end{at: now, Exit: Exit{Code: 1}})
	}
	delay, again, _ := r.next(end{at: now, Exit: Exit{Code: 1}, readyFor: 10 * time.Second})
	require.True(t, again)
	require.Zero(t, delay)
	delay, _, _ = r.next(end{at: now, Exit: Exit{Code: 1}, readyFor: 9 * time.Second})
	require.LessOrEqual(t, delay, time.Second, "the row begins anew")
	require.Positive(t, delay)

	r = row{policy: RestartPolicy{MinDelay: -1}.completed()}
	delay, again, _ = r.next(end{at: now, Exit: Exit{Code: 1}})
	require.True(t, again)
	require.Zero(t, delay)

	r = row{policy: RestartPolicy{Limit: -1}.completed()}
	for range 1000 {
		_, again, _ = r.next(end{at: now, Exit: Exit{Code: 1}})
		require.True(t, again)
	}

	r = row{policy: RestartPolicy{Limit: 2, Window: time.Minute}.completed()}
	for range 10 {
		_, again, _ = r.next(end{at: now, Exit: Exit{Code: 1}})
		require.True(t, again, "only those within the window count")
		now = now.Add(time.Minute)
	}
}

// parsePolicy reads a policy: always,foreground,min:10ms,max:1s,reset:1s,limit:3,window:1m,settle:1s,permanent:3.
func parsePolicy(text string) (p RestartPolicy) {
	for _, field := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(field, ":")
		d, _ := time.ParseDuration(value)
		var n int
		fmt.Sscan(value, &n)
		switch key {
		case "always":
			p.Always = true
		case "foreground":
			p.Foreground = true
		case "min":
			p.MinDelay = d
		case "max":
			p.MaxDelay = d
		case "reset":
			p.Reset = d
		case "limit":
			p.Limit = n
		case "window":
			p.Window = d
		case "settle":
			p.Settle = d
		case "permanent":
			p.Permanent = append(p.Permanent, n)
		}
	}
	return p
}
