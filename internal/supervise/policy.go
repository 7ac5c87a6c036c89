package supervise

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"example.com/lifecycle/internal/console"
)

// Policy configures when an ended worker is restarted. All defaults are filled in.
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
	Notify     bool
	Clean      []int

	StopSignal   os.Signal
	ReloadSignal os.Signal
	ReopenSignal os.Signal // nil: none

	KeepOrphans bool
}

// DefaultPermanent returns the default of Permanent: EX_USAGE, EX_NOINPUT, EX_NOPERM and EX_CONFIG
// (sysexits.h). EX_NOINPUT (66) is missing for a worker of this binary if the binary was built with
// the race detector, which exits with 66 after a race.
func DefaultPermanent(thisBinary bool) []int {
	return defaultPermanent(thisBinary && raceDetector)
}

func defaultPermanent(detectsRaces bool) []int {
	if detectsRaces {
		return []int{64, 77, 78}
	}
	return []int{64, 66, 77, 78}
}

func (p Policy) isPermanent(code int) bool { return slices.Contains(p.Permanent, code) }

// backoff records the exits of a worker. Its times are monotonic.
type backoff struct {
	policy Policy
	exits  []time.Time // within Window
	series int         // exits since the last worker that was ready for Reset
	// attempt is the greater of len(exits) and series. Limit applies to both, because a worker that
	// fails slowly never has Limit exits within Window.
	attempt int
	delay   time.Duration // before the last restart
}

// end describes how a worker ended.
type end struct {
	Exit
	at       time.Time
	readyFor time.Duration // 0: the worker was never ready
	asked    bool          // Restart has ended it
}

// next returns the delay before the next start. If again is false, there is no next start, and why
// contains the reason. After a clean exit, why is "".
func (b *backoff) next(e end) (delay time.Duration, again bool, why string) {
	switch {
	case e.asked:
		return 0, true, ""
	case e.Code == 0 && e.Why == "" && !b.policy.Always:
		return 0, false, ""
	case b.policy.isPermanent(e.Code):
		return 0, false, fmt.Sprintf("exit %d is permanent", e.Code)
	}
	long := e.readyFor >= b.policy.Reset
	if long {
		b.series = 0
	}
	b.series++
	b.attempt = b.series
	if b.policy.Limit > 0 {
		b.exits = slices.DeleteFunc(b.exits, func(at time.Time) bool { return e.at.Sub(at) >= b.policy.Window })
		b.exits = append(b.exits, e.at)
		b.attempt = max(b.series, len(b.exits))
	}
	switch {
	case len(b.exits) == b.policy.Limit:
		return 0, false, fmt.Sprintf("the worker ended %d times in %s", b.attempt, console.FormatLimit(b.policy.Window))
	case b.series == b.policy.Limit:
		return 0, false, fmt.Sprintf("the worker ended %d times in a row before it had been ready for %s", b.series, console.FormatLimit(b.policy.Reset))
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

// jitter returns a random duration between three quarters of d and d. Workers that died of the same
// cause thus do not restart at the same time.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/4+1)) // #nosec G404 -- not a secret
}
