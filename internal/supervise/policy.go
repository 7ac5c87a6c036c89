package supervise

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/lifecycle/internal/console"
)

// Policy says when a worker that has ended is started again. Every default is filled in.
type Policy struct {
	Always     bool
	MinDelay   time.Duration
	MaxDelay   time.Duration
	Reset      time.Duration
	Limit      int
	Window     time.Duration
	Permanent  []int
	Foreground bool
	Settle     time.Duration
}

func (p Policy) isPermanent(code int) bool { return slices.Contains(p.Permanent, code) }

// backoff remembers the exits of a worker. Its times are monotonic.
type backoff struct {
	policy  Policy
	exits   []time.Time   // within Window, where there is a limit
	attempt int           // since the last worker that was ready for long, or within Window where there is a limit
	delay   time.Duration // before the last restart
}

// end is how a worker has ended.
type end struct {
	Exit
	at       time.Time
	readyFor time.Duration // how long the worker had been ready; 0: it never was
}

// next returns how long to wait before the next start, or why there is none; "" after a clean exit.
func (b *backoff) next(e end) (delay time.Duration, again bool, why string) {
	switch {
	case e.Code == 0 && e.Why == "" && !b.policy.Always:
		return 0, false, ""
	case b.policy.isPermanent(e.Code):
		return 0, false, fmt.Sprintf("exit %d is final", e.Code)
	}
	long := e.readyFor >= b.policy.Reset
	if long {
		b.attempt = 0
	}
	b.attempt++
	if b.policy.Limit > 0 {
		b.exits = slices.DeleteFunc(b.exits, func(at time.Time) bool { return e.at.Sub(at) >= b.policy.Window })
		b.exits = append(b.exits, e.at)
		b.attempt = len(b.exits)
	}
	switch {
	case b.attempt == b.policy.Limit:
		return 0, false, fmt.Sprintf("it has ended %d times in %s", b.attempt, console.FormatLimit(b.policy.Window))
	case b.policy.MinDelay < 0:
		return 0, true, ""
	case long:
		b.delay = 0
		return 0, true, ""
	case b.delay == 0:
		b.delay = b.policy.MinDelay
	default:
		b.delay = min(2*b.delay, b.policy.MaxDelay)
	}
	return jitter(b.delay), true, ""
}

// jitter returns between three quarters of d and d. It keeps workers that died of the same cause from coming back in
// step.
func jitter(d time.Duration) time.Duration { return d - time.Duration(rand.Int64N(int64(d)/4+1)) }
