package supervise

import (
	"cmp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// completed sets the defaults of the fields that the tests leave out.
func completed(p Policy) Policy {
	p.MinDelay = cmp.Or(p.MinDelay, 100*time.Millisecond)
	p.MaxDelay = cmp.Or(p.MaxDelay, 30*time.Second)
	p.Reset = cmp.Or(p.Reset, 10*time.Second)
	p.Window = cmp.Or(p.Window, time.Minute)
	p.Limit = cmp.Or(p.Limit, 10)
	if p.Permanent == nil {
		p.Permanent = []int{64, 66, 77, 78}
	}
	p.Clean = []int{0, 130, 143}
	return p
}

// Row H1.
func TestTheDelayDoublesUntilTheSupervisorGivesUp(t *testing.T) {
	t.Parallel()
	r := backoff{policy: completed(Policy{Limit: 8, MinDelay: time.Second, MaxDelay: 10 * time.Second, Window: time.Hour})}
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
	require.Equal(t, "the worker ended 8 times in 3600s", why)
}

// Rows H4, H6.
func TestExitsAfterWhichAWorkerIsNotRestarted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		policy Policy
		code   int
		again  bool
		why    string
	}{
		{Policy{}, 0, false, ""},
		{Policy{Always: true}, 0, true, ""},
		{Policy{}, 1, true, ""},
		{Policy{}, 2, true, ""},
		{Policy{}, -1, true, ""},
		{Policy{}, 78, false, "exit 78 is permanent"},
		{Policy{Always: true}, 64, false, "exit 64 is permanent"},
		{Policy{Permanent: []int{}}, 78, true, ""},
		{Policy{Permanent: []int{3}}, 3, false, "exit 3 is permanent"},
		{Policy{Permanent: []int{3}}, 78, true, ""},
	} {
		r := backoff{policy: completed(tt.policy)}
		_, again, why := r.next(end{at: time.Now(), Exit: Exit{Code: tt.code}})
		require.Equal(t, tt.again, again, "%+v", tt)
		require.Equal(t, tt.why, why, "%+v", tt)
	}
}

// Row H11.
func TestAWorkerThatWasReadyForResetStartsANewSeries(t *testing.T) {
	t.Parallel()
	r := backoff{policy: completed(Policy{MinDelay: time.Second})}
	now := time.Now()
	for range 4 {
		_, _, _ = r.next(end{at: now, Exit: Exit{Code: 1}})
	}
	delay, again, _ := r.next(end{at: now, Exit: Exit{Code: 1}, readyFor: 10 * time.Second})
	require.True(t, again)
	require.Zero(t, delay)
	delay, _, _ = r.next(end{at: now, Exit: Exit{Code: 1}, readyFor: 9 * time.Second})
	require.LessOrEqual(t, delay, time.Second, "a new series begins")
	require.Positive(t, delay)

	r = backoff{policy: completed(Policy{MinDelay: -1})}
	delay, again, _ = r.next(end{at: now, Exit: Exit{Code: 1}})
	require.True(t, again)
	require.Zero(t, delay)

	r = backoff{policy: completed(Policy{Limit: -1})}
	for range 1000 {
		_, again, _ = r.next(end{at: now, Exit: Exit{Code: 1}})
		require.True(t, again)
	}

	r = backoff{policy: completed(Policy{Limit: 2, Window: time.Minute})}
	for range 10 {
		_, again, _ = r.next(end{at: now, Exit: Exit{Code: 1}, readyFor: 10 * time.Second})
		require.True(t, again, "only exits within Window count")
		now = now.Add(time.Minute)
	}
}

func TestTheExitCodeOfTheRaceDetectorIsNotPermanent(t *testing.T) {
	t.Parallel()
	require.Equal(t, []int{64, 77, 78}, defaultPermanent(true))
	require.Equal(t, []int{64, 66, 77, 78}, defaultPermanent(false))
	require.Equal(t, []int{64, 66, 77, 78}, DefaultPermanent(false), "a supervised program may mean EX_NOINPUT")
	require.Equal(t, defaultPermanent(raceDetector), DefaultPermanent(true))
}

// A program that takes minutes to fail never ends ten times in a minute.
func TestTheLimitCountsSlowExitsInARow(t *testing.T) {
	t.Parallel()
	for _, takes := range []time.Duration{0, time.Second, 2500 * time.Millisecond, 9 * time.Second, time.Minute, time.Hour} {
		r := backoff{policy: completed(Policy{})}
		now, starts := time.Now(), 1
		for again, why := true, ""; again; starts++ {
			var delay time.Duration
			now = now.Add(takes)
			if delay, again, why = r.next(end{at: now, Exit: Exit{Code: 1}, readyFor: min(takes, 9*time.Second)}); !again {
				require.Contains(t, why, "10 times")
				break
			}
			now = now.Add(delay)
			require.Less(t, starts, 10, "%s", takes)
		}
		require.Equal(t, 10, starts, "%s", takes)
	}
}
