package handshake

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"example.com/lifecycle/internal/sys/detach"
	"example.com/lifecycle/internal/sys/keeper"
)

// Spec describes the daemon to start and how long to wait for it.
type Spec struct {
	Args           []string       // with the name of the program first
	Dir            string         // working directory; "": the current one
	PIDFile        string         // its lock is the first of Files; "": none
	Stdout, Stderr *os.File       // nil: /dev/null
	Files          []*os.File     // the daemon gets copies
	Keeper         keeper.Manager // started the launcher; zero: none

	Began        time.Time     // when the start began
	StartTimeout time.Duration // from Began until the daemon must call Run
	Limits       Limits        // of the daemon, until it sends its own

	OneShot bool                            // its lock is the first of Files; "": none
	Insist  <-chan struct{}                 // closed to kill the daemon instead of undoing the start
	OnPID   func(pid int) (finish func())   // called when the daemon was started; may be nil
	Tail    func() string                   // returns what the daemon wrote to a log since Began
	Decode  func(why json.RawMessage) error // returns the error that the daemon passed to Fail
}

// Start starts the daemon. It blocks until the daemon is ready, and returns its PID, or until all
// processes of a failed start have ended. If ctx ends, Start undoes the start and returns the cause
// of ctx. For a failure that the daemon reports, Start returns the result of Decode. For a daemon
// that dies, it returns the result of [Died]. Other errors are *TimeoutError, *UnkillableError, and
// the reason why the process could not be started. If Start had to kill the daemon, a *KilledError
// wraps the error.
func Start(ctx context.Context, spec Spec) (pid int, err error) {
	if spec.OneShot {
		defer detach.AdoptOrphans()()
	}
	notLiving := &TimeoutError{Timeout: spec.StartTimeout}
	inTime, cancel := context.WithDeadlineCause(ctx, spec.Began.Add(spec.StartTimeout), notLiving)
	defer cancel()
	peer, err := detach.Start(detach.Spec{
		Args: spec.Args, Dir: spec.Dir, Note: handoff{PIDFile: []byte(spec.PIDFile), NoLog: spec.Stderr == nil, Keeper: spec.Keeper},
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
