package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"example.com/lifecycle/internal/ossignal"
	"example.com/lifecycle/internal/pin"
)

// ErrNotRunning says that nobody holds the PID file. The error that wraps it is a [*NotRunningError].
var ErrNotRunning = errors.New("lifecycle: not running")

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
		return nil, errNoPIDFile
	}
	path, err := filepath.Abs(pidFile)
	if err != nil {
		return nil, pidFileError(pidFile, err)
	}
	for deadline := time.Now().Add(patienceForPID); ; time.Sleep(lookAgain) {
		h, err := lookAt(path)
		last := time.Now().After(deadline)
		switch {
		case err != nil:
			return nil, err
		case !h.held:
			return nil, &NotRunningError{PIDFile: path, Stale: h.number != 0, PID: h.number}
		case !h.known && !last:
			continue
		case h.pid == 0:
			return nil, fmt.Errorf("lifecycle: PID file %s: %w", path, h.nameless())
		}
		p, err := hold(path, h)
		if !errors.Is(err, os.ErrProcessDone) {
			return p, err
		}
		if last {
			return nil, fmt.Errorf("lifecycle: PID file %s: pid %d has ended, but what it started still holds the lock", path, h.pid)
		}
	}
}

const (
	// patienceForPID is how long a look waits for a holder that has not written its PID yet.
	patienceForPID = 2 * time.Second
	// lookAgain is how long after a look that told too little there is another one.
	lookAgain = 2 * time.Millisecond
)

// errNoPIDFile says that there is nothing by which a daemon could be found.
var errNoPIDFile = fmt.Errorf("lifecycle: there is no PID file, so a running one cannot be found: %w", errors.ErrUnsupported)

// errElsewhere says that a daemon runs, but not where we could signal it.
var errElsewhere = errors.New("held by a daemon in another PID namespace")

// nameless says why no process can be named for a file that is held.
func (h holder) nameless() error {
	switch {
	case h.daemon && h.known:
		return errElsewhere
	case h.daemon || h.number == 0:
		return errors.New("held by a process that has not written its PID")
	}
	return errForeign
}

// hold pins the process that h names, and then asks again whether it is the one that holds the PID file: between the two, the
// PID could have been given to another. It returns os.ErrProcessDone where h is out of date.
func hold(pidFile string, h holder) (*Process, error) {
	pinned, err := pin.Open(h.pid)
	if err != nil {
		return nil, fmt.Errorf("lifecycle: %w", err)
	}
	p := &Process{PID: h.pid, pidFile: pidFile, pin: pinned}
	err = p.verify()
	if err == nil && errors.Is(pinned.Signal(syscall.Signal(0)), os.ErrProcessDone) {
		err = os.ErrProcessDone // a zombie
	}
	if err != nil {
		pinned.Close()
		return nil, err
	}
	return p, nil
}

// verify returns nil if the process holds the PID file now, and may be named by it: a file that is not root's names only
// processes of its owner.
func (p *Process) verify() error {
	h, err := lookAt(p.pidFile)
	if err != nil {
		return err
	}
	if !h.held || h.pid != p.PID {
		return os.ErrProcessDone
	}
	if h.owner != 0 {
		err = p.verifyOwner(h.owner)
	}
	if err == nil && h.guessed {
		err = p.verifyGuess()
	}
	return err
}

// verifyGuess returns nil unless the system tells that the process has not even opened the PID file: then the number in it is from
// another PID namespace.
func (p *Process) verifyGuess() error {
	info, err := os.Lstat(p.pidFile)
	if err != nil {
		return nil // it goes just now
	}
	has, err := p.pin.HasOpen(info)
	switch {
	case errors.Is(err, os.ErrProcessDone):
		return err
	case err == nil && !has:
		return fmt.Errorf("lifecycle: PID file %s: %w", p.pidFile, errElsewhere)
	}
	return nil
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

// Close lets go of the process. It does nothing to it.
func (p *Process) Close() error { return p.pin.Close() }

// Signal sends a signal to the daemon, after having asked the kernel again that it holds the PID file. It does not
// wait. The error wraps [ErrNotRunning] where the daemon is gone, and fs.ErrPermission where it may not be signalled.
func (p *Process) Signal(sig os.Signal) error {
	err := p.verify()
	if err == nil {
		if err = p.pin.Signal(sig); err != nil {
			err = fmt.Errorf("lifecycle: signal %v to pid %d: %w", sig, p.PID, err)
		}
	}
	if errors.Is(err, os.ErrProcessDone) {
		return &NotRunningError{PIDFile: p.pidFile}
	}
	return err
}

// Wait blocks until the daemon is gone: its process has ended and does not hold the PID file any more. It returns nil then, and
// the cause of ctx if that ends before.
func (p *Process) Wait(ctx context.Context) error {
	if err := p.pin.Wait(ctx); err != nil {
		return fmt.Errorf("lifecycle: waiting for pid %d to end: %w", p.PID, err)
	}
	// The kernel drops the locks before it tells of the end. What the daemon left behind can hold a copy of the descriptor.
	for {
		h, err := lookAt(p.pidFile)
		if err != nil || !h.held || h.pid != p.PID {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lifecycle: waiting for %s to be released: %w", p.pidFile, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Stop asks the daemon to stop, with TERM, and blocks until it is gone; see Wait. It returns nil where it was gone already. A
// process that has let go of the PID file is not signalled, and is an error if it still runs 2 s later.
func (p *Process) Stop(ctx context.Context) error { return p.end(ctx, syscall.SIGTERM) }

// Kill ends the daemon with KILL, which gives it no chance to stop cleanly, and blocks until it is gone; see Wait.
func (p *Process) Kill(ctx context.Context) error { return p.end(ctx, syscall.SIGKILL) }

func (p *Process) end(ctx context.Context, sig os.Signal) error {
	err := p.Signal(sig)
	if errors.Is(err, ErrNotRunning) {
		return p.awaitEnd(ctx)
	}
	if err == nil && ossignal.Continue != nil {
		err = p.Signal(ossignal.Continue) // a stopped process gets its TERM only then
	}
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return err
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
