package worker

import (
	"errors"
	"os"
)

// Process is what was started.
type Process struct{ PID int }

type lifeline struct{}

func start(Order) (*Process, error) { return nil, errors.ErrUnsupported }

// Signal sends the process a signal.
func (*Process) Signal(os.Signal) error { return errors.ErrUnsupported }

// Wait blocks until the process has ended.
func (*Process) Wait() (*os.ProcessState, error) { return nil, errors.ErrUnsupported }

// Words is what a crash of an own worker has said.
func (*Process) Words() string { return "" }

// Close closes the lifeline.
func (*Process) Close() {}

// Take returns a channel that is closed when the supervisor is gone.
func (*Inheritance) Take() (lost <-chan struct{}) { return nil }

// TakeCrashes sends what the Go runtime has to say of a crash to the supervisor too.
func (*Inheritance) TakeCrashes() error { return errors.ErrUnsupported }
