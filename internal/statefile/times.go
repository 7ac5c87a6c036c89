package statefile

import (
	"sync"
	"time"

	"example.com/lifecycle/internal/sys/monotonic"
)

// Times contains the times of a record on a clock that cannot be set. It corrects the time of day
// on a machine whose clock has no battery: such a clock starts in 1970 or at the last shutdown, and
// is set when the machine has a network.
type Times struct {
	Clock string                   `json:"clock"` // see monotonic.Clock
	At    map[string]time.Duration `json:"at_ns"` // on monotonic.Boottime, by name
}

// stamps caches the converted times. A second conversion would have another result if the machine
// was suspended between the two.
type stamps struct {
	mu    sync.Mutex
	known map[time.Time]time.Duration
}

// Times converts the times that are not zero. It returns nil if the system has no such clock, or if
// f is nil.
func (f *File) Times(times map[string]*time.Time) *Times {
	clock := monotonic.Clock()
	if f == nil || clock == "" {
		return nil
	}
	f.stamps.mu.Lock()
	defer f.stamps.mu.Unlock()
	known, at := map[time.Time]time.Duration{}, map[string]time.Duration{}
	for name, t := range times {
		if t.IsZero() {
			continue
		}
		stamp, found := f.stamps.known[*t]
		if !found {
			stamp = monotonic.Boottime() - time.Since(*t)
		}
		known[*t], at[name] = stamp, stamp
	}
	f.stamps.known = known
	return &Times{Clock: clock, At: at}
}

// setMargin is the smallest difference that proves that the time of day was set. A smaller
// difference may come from an adjustment of the rate of the clock.
const setMargin = time.Second

// Correct corrects the times of a record if the time of day was set after they were recorded. It
// does nothing if the record comes from another boot or time namespace.
func (t *Times) Correct(times map[string]*time.Time) {
	if t == nil || t.Clock == "" || t.Clock != monotonic.Clock() {
		return
	}
	now, boottime := time.Now(), monotonic.Boottime()
	for name, at := range times {
		stamp, found := t.At[name]
		if !found || at.IsZero() {
			continue
		}
		is := now.Add(stamp - boottime)
		if is.Sub(*at).Abs() > setMargin {
			*at = is.Round(0)
		}
	}
}
