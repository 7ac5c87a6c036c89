package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"example.com/lifecycle/internal/ossignal"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/pin"
)

// Close lets go of the process. It does nothing to it.
func (p *Process) Close() error { return p.pin.Close() }

// Signal sends a signal to the daemon, after having asked the kernel again that it holds the PID file. It does not
// wait. The error wraps [ErrNotRunning] where the daemon is gone, and fs.ErrPermission where it may not be signalled.
func (p *Process) Signal(sig os.Signal) error {
	_, err := p.verify()
	if err == nil {
		if err = p.pin.Signal(sig); err != nil {
			err = fmt.Errorf("lifecycle: cannot send %s to pid %d: %w", ossignal.Text(sig), p.PID, err)
		}
	}
	return p.gone(err)
}

// gone makes a process that is done one that is not running.
func (p *Process) gone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return &NotRunningError{PIDFile: p.pidFile}
	}
	return err
}

// Wait blocks until the daemon is gone: its process has ended and does not hold the PID file any more. It returns nil then, and
// the cause of ctx if that ends before.
func (p *Process) Wait(ctx context.Context) error {
	if err := p.checkOther(); err != nil {
		return err
	}
	if err := p.pin.Wait(ctx); err != nil {
		return fmt.Errorf("lifecycle: waiting for pid %d to end: %w", p.PID, err)
	}
	// The kernel drops the locks before it tells of the end. What the daemon left behind can hold a copy of the descriptor.
	for {
		h, err := inspectPIDFile(p.pidFile)
		// A name is that of a process which lives, so of another one with the same PID.
		if err != nil || !h.Held || h.PID != p.PID || !h.Guessed {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lifecycle: waiting for %s to be released: %w", p.pidFile, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Stop asks the daemon to stop, with TERM, and blocks until it is gone; see Wait. One that says that it is stopping already is not asked
// again, for a second TERM would cut its stop short. It returns nil where the daemon was gone already. A
// process that has let go of the PID file is not signalled, and is an error if it still runs 2 s later. To the daemon itself, which
// would wait for its own end, it is an error at once: there is Life.Stop.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.checkOther(); err != nil {
		return err
	}
	if s, err := p.Status(); err == nil && s.Phase == Stopping {
		return p.end(ctx, ossignal.Continue)
	}
	return p.end(ctx, syscall.SIGTERM, ossignal.Continue) // a suspended process gets its TERM only then
}

// checkOther returns an error if p is this process, which would wait for its own end.
func (p *Process) checkOther() error {
	if p.PID == os.Getpid() {
		return errors.New("lifecycle: a process cannot wait for its own end: use Life.Stop")
	}
	return nil
}

// Kill ends the daemon with KILL, which gives it no chance to stop cleanly, and blocks until it is gone; see Wait.
func (p *Process) Kill(ctx context.Context) error { return p.end(ctx, syscall.SIGKILL) }

func (p *Process) end(ctx context.Context, signals ...os.Signal) error {
	for i, sig := range signals {
		if sig == nil {
			continue // this system does not have it
		}
		switch err := p.Signal(sig); {
		case errors.Is(err, ErrNotRunning) && i == 0:
			return p.awaitEnd(ctx)
		case err != nil && !errors.Is(err, ErrNotRunning):
			return err
		}
	}
	return p.Wait(ctx)
}

// awaitEnd waits for a process that does not hold the PID file any more, and so may not be signalled. It is about to end, unless
// something else keeps it.
func (p *Process) awaitEnd(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := p.Wait(soon)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("lifecycle: pid %d does not hold %s any more, but still runs; it was not signalled", p.PID, p.pidFile)
	}
	return err
}

// NotRunningError says which PID file nobody holds, and whether a daemon that died has left it. It wraps [ErrNotRunning].
type NotRunningError struct {
	PIDFile string
	Stale   bool // there is a PID in the file
	PID     int  // the one in a stale file; it proves nothing
}

func (e *NotRunningError) Error() string {
	if e.Stale {
		return fmt.Sprintf("lifecycle: not running: pid %d is dead and has left %s", e.PID, e.PIDFile)
	}
	return fmt.Sprintf("lifecycle: not running (nobody holds %s)", e.PIDFile)
}

func (e *NotRunningError) Unwrap() error { return ErrNotRunning }

// Process is a running daemon, seen from another process. It holds on to that one process, so that a PID which was given to
// another in the meantime does no harm.
type Process struct {
	PID     int
	pidFile string
	pin     *pin.Pin
}

// Find returns the daemon that holds the PID file. It reads and asks the kernel, but writes, deletes and locks nothing
// that could make a start fail which happens at the same moment. It waits up to 2 s for a holder that has not written its PID yet.
//
// The error wraps [ErrNotRunning] where nobody holds the file, [ErrUnsafePIDFile] where the file is not to be trusted. The caller
// closes the Process.
func Find(pidFile string) (*Process, error) {
	if pidFile == "" {
		return nil, fmt.Errorf("lifecycle: there is no PID file, so a running one cannot be found: %w", errors.ErrUnsupported)
	}
	path, err := filepath.Abs(pidFile)
	if err != nil {
		return nil, pidFileError(pidFile, err)
	}
	for deadline := time.Now().Add(patienceForPID); ; time.Sleep(lookAgain) {
		h, err := inspectPIDFile(path)
		last := time.Now().After(deadline)
		switch {
		case err != nil:
			return nil, err
		case !h.Held:
			return nil, &NotRunningError{PIDFile: path, Stale: h.Number != 0, PID: h.Number}
		case !h.Known && !last:
			continue
		case h.PID == 0:
			return nil, fmt.Errorf("lifecycle: PID file %s: %w", path, h.Unidentified(path))
		}
		p, err := hold(path, h)
		if !errors.Is(err, os.ErrProcessDone) {
			return p, err
		}
		if last {
			return nil, fmt.Errorf("lifecycle: PID file %s: pid %d has ended, but what it started still holds the lock", path, h.PID)
		}
	}
}

const (
	// patienceForPID is how long a look waits for a holder that has not written its PID yet.
	patienceForPID = 2 * time.Second
	// lookAgain is how long after a look that told too little there is another one.
	lookAgain = 2 * time.Millisecond
)

// hold pins the process that h names, and then asks again whether it is the one that holds the PID file: between the two, the
// PID could have been given to another. It returns os.ErrProcessDone where h is out of date.
func hold(pidFile string, h pidfile.Holder) (*Process, error) {
	pinned, err := pin.Open(h.PID)
	if err != nil {
		return nil, fmt.Errorf("lifecycle: %w", err)
	}
	p := &Process{PID: h.PID, pidFile: pidFile, pin: pinned}
	if _, err = p.verifyAlive(); err != nil { // a zombie is not
		pinned.Close()
		return nil, err
	}
	return p, nil
}

// verify returns what is seen at the PID file if the process holds it now, and may be named by it: a file that is not root's names only
// processes of its owner. It returns os.ErrProcessDone where the process does not hold it.
func (p *Process) verify() (pidfile.Holder, error) {
	h, err := inspectPIDFile(p.pidFile)
	if err != nil {
		return h, err
	}
	if !h.Held || h.PID != p.PID {
		return h, os.ErrProcessDone
	}
	if h.Owner != 0 {
		err = p.verifyOwner(h.Owner)
	}
	if err == nil && h.Guessed {
		err = p.verifyGuess()
	}
	return h, err
}

// verifyAlive is verify, and asks the process itself too: a daemon that came after it can have its PID and its PID file.
func (p *Process) verifyAlive() (pidfile.Holder, error) {
	h, err := p.verify()
	if err == nil {
		err = p.pin.Signal(syscall.Signal(0))
		if errors.Is(err, fs.ErrPermission) { // it is there
			err = nil
		}
	}
	return h, err
}

// verifyGuess returns nil unless the system tells that the process has not even opened the PID file: then the number in it is from
// another PID namespace.
func (p *Process) verifyGuess() error {
	// A process that dies has closed its files some time before its lock is gone and it is seen to have ended.
	for deadline := time.Now().Add(patienceForDeath); ; time.Sleep(time.Millisecond) {
		info, err := os.Lstat(p.pidFile)
		if err != nil {
			return nil // it goes just now
		}
		has, err := p.pin.HasOpen(info)
		if errors.Is(err, os.ErrProcessDone) {
			return err
		}
		if err != nil || has {
			return nil
		}
		h, err := inspectPIDFile(p.pidFile)
		switch {
		case err != nil || !h.Held || h.PID != p.PID || !h.Guessed:
			return os.ErrProcessDone
		case time.Now().After(deadline):
			return fmt.Errorf("lifecycle: PID file %s: %w", p.pidFile, pidfile.ErrOtherNamespace)
		}
	}
}

// verifyOwner returns nil if the process is one of the owner of the PID file.
func (p *Process) verifyOwner(owner int) error {
	uid, err := p.pin.UID()
	switch {
	case errors.Is(err, os.ErrProcessDone):
		return err
	case err != nil && os.Geteuid() == owner:
		return nil // the kernel lets us signal our own processes only
	case err != nil:
		return fmt.Errorf("%w %s: it belongs to user %d, and whose process %d is cannot be told: %w", ErrUnsafePIDFile, p.pidFile, owner, p.PID, err)
	case uid != owner:
		return fmt.Errorf("%w %s: it belongs to user %d, but process %d is of user %d", ErrUnsafePIDFile, p.pidFile, owner, p.PID, uid)
	}
	return nil
}
