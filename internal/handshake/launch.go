package handshake

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"example.com/lifecycle/internal/detach"
)

// Spec says which daemon to start and how long to wait for it.
type Spec struct {
	Args           []string   // the name of the program first
	PIDFile        string     // the PID file whose lock is the first of Files; "": none
	Stdout, Stderr *os.File   // nil: /dev/null
	Files          []*os.File // the daemon gets copies

	Began        time.Time     // when the start began
	StartTimeout time.Duration // from Began until the daemon must come to Run
	Limits       Limits        // of the daemon, until it sends its own

	OneShot bool                            // this process only starts the daemon: it may adopt orphans meanwhile
	Insist  <-chan struct{}                 // closed when nobody wants to wait until a start is undone
	OnPID   func(pid int) (finish func())   // called when the daemon has been started; nil: nothing
	Tail    func() string                   // what the daemon wrote to a log since Began
	Decode  func(why json.RawMessage) error // the error that a daemon gave to Fail
}

// Start starts the daemon and blocks until it is ready, or until nothing of it is left. It returns the PID of a ready
// daemon. The end of ctx undoes the start; then Start returns the cause of ctx. Other errors are what Decode made of the
// failure, *ExitError, *TimeoutError, *UnkillableError, or what kept the process from being started; a *KilledError
// wraps each of them where the daemon had to be killed.
func Start(ctx context.Context, spec Spec) (pid int, err error) {
	if spec.OneShot {
		defer detach.AdoptOrphans()()
	}
	notLiving := &TimeoutError{Timeout: spec.StartTimeout}
	inTime, cancel := context.WithDeadlineCause(ctx, spec.Began.Add(spec.StartTimeout), notLiving)
	defer cancel()
	peer, err := detach.Start(detach.Spec{
		Args: spec.Args, Note: handoff{PIDFile: spec.PIDFile, NoLog: spec.Stderr == nil},
		Stdout: spec.Stdout, Stderr: spec.Stderr, Files: spec.Files,
	}, inTime.Done())
	if err != nil {
		if cause := context.Cause(inTime); cause != nil {
			err = cause
		}
		return 0, err
	}
	defer peer.Close()
	return newLaunch(spec, peer).wait(ctx)
}
