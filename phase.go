package lifecycle

import (
	"fmt"
	"slices"
)

// Phase is where a life is in its course:
//
//	Starting → Ready ⇄ Reloading → Stopping → Exited
type Phase int

// The phases, in the order of a life.
const (
	Starting  Phase = iota // the components are being started
	Ready                  // all is started, and ReadyWhen satisfied
	Reloading              // OnCheck and OnReload run
	Stopping               // a stop was asked for, or the start failed
	Exited                 // the life is over
)

var phaseNames = [...]string{"starting", "ready", "reloading", "stopping", "exited"}

// String is the name in lower case.
func (p Phase) String() string {
	if p < 0 || int(p) >= len(phaseNames) {
		return "unknown"
	}
	return phaseNames[p]
}

// MarshalText is String, for JSON.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (p *Phase) UnmarshalText(text []byte) error {
	at := slices.Index(phaseNames[:], string(text))
	if at < 0 {
		return fmt.Errorf("lifecycle: %q is no phase", text)
	}
	*p = Phase(at)
	return nil
}
