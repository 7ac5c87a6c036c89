package supervise

import (
	"encoding/json"
	"errors"
	"os"
)

// Snapshot returns the state that Freeze would return now, for [CheckState]. It changes nothing.
func (s *Supervisor) Snapshot() (json.RawMessage, error) { return nil, errors.ErrUnsupported }

// Freeze suspends the supervisor, but no worker, until Thaw is called. It returns the arguments for
// Resume in the next program of this process. The files stay open in this process.
func (s *Supervisor) Freeze() (state json.RawMessage, files []*os.File, err error) {
	return nil, nil, errors.ErrUnsupported
}

// Thaw continues the supervisor after Freeze.
func (s *Supervisor) Thaw() {}

// CheckState returns an error if this program cannot adopt that state. It changes nothing.
func CheckState(state json.RawMessage) error { return errors.ErrUnsupported }

// Resume returns the supervisor that the previous program of this process has frozen. It replaces
// [New] and Start. The caller must call Run.
func Resume(spec Spec, state json.RawMessage, files []*os.File) (*Supervisor, error) {
	return nil, errors.ErrUnsupported
}
