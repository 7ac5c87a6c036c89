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

	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/ossignal"
	"example.com/lifecycle/internal/sys/pin"
	"example.com/lifecycle/internal/sys/safefile"
)

// Close releases the resources of p. It has no effect on the daemon.
func (p *Process) Close() error { return p.pin.Close() }

// Signal sends a signal to the daemon and does not wait for its effect. Before it sends the signal,
// it asks the kernel again whether the daemon holds the PID file. The error wraps [ErrNotRunning]
// if the daemon is gone, and fs.ErrPermission if the caller may not signal it.
func (p *Process) Signal(sig os.Signal) error {
	_, err := p.verify()
	if err == nil {
		if err = p.pin.Signal(sig); err != nil {
			err = fmt.Errorf("lifecycle: cannot send %s to pid %d: %w", ossignal.Text(sig), p.PID, err)
		}
	}
	return p.gone(err)
}

// gone converts os.ErrProcessDone to a [*NotRunningError].
func (p *Process) gone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return &NotRunningError{PIDFile: p.pidFile}
	}
	return err
}

// Wait blocks until the daemon is gone: its process has ended and no longer holds the PID file.
// Wait then returns nil. If ctx ends first, the error wraps the cause of ctx. Inside the daemon
// itself, Wait returns an error at once.
func (p *Process) Wait(ctx context.Context) error {
	if err := p.checkOther(); err != nil {
		return err
	}
	return p.awaitGone(ctx)
}

func (p *Process) awaitGone(ctx context.Context) error {
	if err := p.pin.Wait(ctx); err != nil {
		return fmt.Errorf("lifecycle: waiting for pid %d to end: %w", p.PID, err)
	}
	// The kernel releases the locks of a process before it reports the end. A process that the
	// daemon left behind may still hold a copy of the descriptor.
	for {
		h, err := inspectPIDFile(p.pidFile)
		// A holder that the kernel names (Guessed is false) lives, so it is another process with the same
		// PID.
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

// checkOther returns an error if this process would wait for its own end.
func (p *Process) checkOther() error {
	if p.isOurs() {
		return errors.New("lifecycle: a process cannot wait for its own end: use Life.Stop")
	}
	return nil
}

// Kill ends the daemon with KILL and blocks until it is gone; see [Process.Wait]. The daemon cannot
// stop cleanly. If the daemon is a supervisor, Kill also ends the processes of its worker. The
// error names processes that Kill cannot end.
func (p *Process) Kill(ctx context.Context) error {
	if err := p.end(ctx, syscall.SIGKILL); err != nil {
		return err
	}
	return p.endRemains(ctx, killAtOnce)
}

func (p *Process) end(ctx context.Context, signals ...os.Signal) error {
	for i, sig := range signals {
		if sig == nil {
			continue // this system does not have the signal
		}
		switch err := p.Signal(sig); {
		case errors.Is(err, ErrNotRunning) && i == 0:
			return p.awaitEnd(ctx)
		case errors.Is(err, ErrUnsafePIDFile) && i > 0: // at its end, the file contained other data
		case err != nil && !errors.Is(err, ErrNotRunning):
			return err
		}
	}
	return p.awaitGone(ctx)
}

// awaitEnd waits for a process that has released the PID file, because such a process must not be
// signalled. Usually it is about to end.
func (p *Process) awaitEnd(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := p.awaitGone(soon)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("lifecycle: pid %d released %s but still runs; no signal was sent", p.PID, p.pidFile)
	}
	return err
}

// NotRunningError names the PID file that no process holds. It wraps [ErrNotRunning]. Stale reports
// whether a dead daemon left the file behind.
type NotRunningError struct {
	PIDFile string
	Stale   bool // the file contains a PID
	PID     int  // the PID in a stale file; another process may have it now
}

func (e *NotRunningError) Error() string {
	if e.Stale {
		return fmt.Sprintf("lifecycle: not running: pid %d died and left %s", e.PID, bytetext.Escape(e.PIDFile))
	}
	return fmt.Sprintf("lifecycle: not running (nobody holds %s)", bytetext.Escape(e.PIDFile))
}

func (e *NotRunningError) Unwrap() error { return ErrNotRunning }

// Process is a running daemon, seen from another process. It refers to one process only: if the
// kernel later gives the PID to another process, the methods do not affect that process.
type Process struct {
	PID     int
	pidFile string
	pin     *pin.Pin
}

// Find returns the daemon that holds the PID file. It only reads files and asks the kernel. It
// takes no lock that could make a concurrent start fail. If a holder has not written its PID yet,
// Find waits for up to 2 s. A relative path is relative to the current working directory.
//
// The error wraps [ErrNotRunning] if no process holds the file, and [ErrUnsafePIDFile] if the file
// cannot be trusted. The caller must close the Process.
func Find(pidFile string) (*Process, error) {
	if err := whyNoDefault(pidFile); err != nil {
		return nil, err
	}
	if pidFile == "" {
		return nil, fmt.Errorf("lifecycle: cannot find the daemon without a PID file: %w", errors.ErrUnsupported)
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
		case !h.Known && handshake.KeepsLock(path):
			return nil, errBeforeRun
		case !h.Known && !h.Other && !last:
			continue
		case h.PID == 0:
			return nil, fmt.Errorf("lifecycle: PID file %s: %w", path, h.Unidentified(path))
		}
		p, err := hold(path, h)
		if !errors.Is(err, os.ErrProcessDone) {
			return p, err
		}
		if last {
			return nil, fmt.Errorf("lifecycle: PID file %s: pid %d has ended, but a process that it started still holds the lock", path, h.PID)
		}
	}
}

const (
	// patienceForPID is how long Find waits for a holder that has not written its PID yet.
	patienceForPID = 2 * time.Second
	// lookAgain is the delay between two inspections if the first one did not identify the holder.
	lookAgain = 2 * time.Millisecond
)

// hold pins the process that h names. It then verifies that the pinned process holds the PID file,
// because before the pin the kernel could have given the PID to another process. It returns
// os.ErrProcessDone if h is out of date.
func hold(pidFile string, h pidfile.Holder) (*Process, error) {
	pinned, err := pin.Open(h.PID)
	if err != nil {
		return nil, fmt.Errorf("lifecycle: %w", err)
	}
	p := &Process{PID: h.PID, pidFile: pidFile, pin: pinned}
	if _, err = p.verifyAlive(); err != nil { // fails for a zombie
		pinned.Close()
		return nil, err
	}
	return p, nil
}

// verify returns the holder of the PID file if that is p and the file may name p. A file that does
// not belong to root may only name processes of its owner. If p does not hold the file, verify
// returns os.ErrProcessDone.
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

// verifyAlive is verify, and also asks the kernel whether the pinned process lives. A later daemon
// can have the same PID and the same PID file.
func (p *Process) verifyAlive() (pidfile.Holder, error) {
	h, err := p.verify()
	if err == nil {
		err = p.pin.Signal(syscall.Signal(0))
		if errors.Is(err, fs.ErrPermission) { // the process exists
			err = nil
		}
	}
	return h, err
}

// verifyGuess returns an error if the system reports that the process has not opened the PID file.
// The PID in the file then comes from another PID namespace.
func (p *Process) verifyGuess() error {
	// A dying process closes its files. Some time later, the kernel releases the lock and reports the
	// end of the process.
	for deadline := time.Now().Add(patienceForDeath); ; time.Sleep(time.Millisecond) {
		info, err := os.Lstat(p.pidFile)
		switch {
		case err == nil:
		case safefile.OutcomeOf(err) == safefile.Absent:
			return nil // the daemon is removing the file
		default:
			return pidFileError(p.pidFile, err)
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

// verifyOwner returns nil if the process belongs to the owner of the PID file.
func (p *Process) verifyOwner(owner int) error {
	uid, err := p.pin.UID()
	switch {
	case errors.Is(err, os.ErrProcessDone):
		return err
	case err != nil && os.Geteuid() == owner:
		return nil // the kernel lets this user signal only its own processes
	case err != nil:
		return fmt.Errorf("%w %s: it belongs to user %d, but the user of process %d is unknown: %w", ErrUnsafePIDFile, p.pidFile, owner, p.PID, err)
	case uid != owner:
		return fmt.Errorf("%w %s: it belongs to user %d, but process %d belongs to user %d", ErrUnsafePIDFile, p.pidFile, owner, p.PID, uid)
	}
	return nil
}
