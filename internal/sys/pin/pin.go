// Package pin refers to one process. A signal through a pin can never reach a later process with
// the same PID.
//
// How exact a pin is depends on the system:
//
//	Linux            a pidfd: exact
//	  without one    an open /proc/PID/stat, checked before each kill(2)
//	  nor /proc      kill(2) alone, which treats a zombie as alive
//	macOS, BSDs      a kqueue that reports the end, checked before each kill(2)
//	  not permitted  kill(2) alone: OpenBSD and NetBSD report the end only to the owner of a process
//	other systems    none: Open returns errors.ErrUnsupported
//
// A few instructions pass between a check and the kill(2) after it. A signal can reach the wrong
// process only if three events happen during these instructions: the process ends, its parent reaps
// it, and the kernel reuses its PID.
package pin

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pollInterval is how often Wait polls if the system does not report the end.
const pollInterval = 5 * time.Millisecond

// Pin is a pinned process. Its methods are safe for concurrent use.
type Pin struct {
	pid    int
	proc   process
	closed atomic.Bool

	watch sync.Once
	over  chan struct{} // closed when the watch has ended, for the reason in err
	err   error
}

// process is one way to pin a process.
type process interface {
	signal(sig os.Signal) error
	ended() (bool, error)
	// await blocks until the process has ended. It returns an error if the system does not report
	// the end.
	await() error
	close() error
}

// Open pins the process that has the PID now. The process may be a zombie. The error matches
// os.ErrProcessDone if no process has that PID, or if no process can have that number.
func Open(pid int) (*Pin, error) {
	return openBy(hold, pid)
}

func openBy(hold func(pid int) (process, error), pid int) (*Pin, error) {
	// With a pid <= 0, kill(2) signals a process group. The kernel would treat 1<<32 + 1 as 1, because
	// pid_t has 32 bits.
	if pid <= 0 || pid > math.MaxInt32 {
		return nil, fmt.Errorf("open process %d: %w", pid, os.ErrProcessDone)
	}
	proc, err := hold(pid)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &Pin{pid: pid, proc: proc, over: make(chan struct{})}, nil
}

// PID returns the PID of the process. After the process has ended, another process may have the
// same PID.
func (p *Pin) PID() int {
	return p.pid
}

// Signal sends sig to the process. It returns os.ErrProcessDone if the process has ended. A zombie
// has ended. The error matches fs.ErrPermission if this process may not send the signal.
func (p *Pin) Signal(sig os.Signal) error {
	done, err := p.ended()
	if err == nil && done {
		err = os.ErrProcessDone
	}
	if err == nil {
		err = p.ifOpen(p.proc.signal(sig))
	}
	return err
}

// Wait blocks until the process has ended, and then returns nil. A zombie has ended. The process
// need not be a child. If ctx ends first, Wait returns its cause; it may be called again. If Close
// is called, Wait returns os.ErrClosed.
//
// The first Wait that blocks starts a goroutine. It runs until the process has ended or the Pin is
// closed.
func (p *Pin) Wait(ctx context.Context) error {
	done, err := p.ended()
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", p.pid, err)
	}
	if done {
		return nil
	}
	p.watch.Do(func() { go p.watchEnd() })
	select {
	case <-p.over:
		if p.err != nil {
			return fmt.Errorf("wait for process %d: %w", p.pid, p.err)
		}
		return nil
	case <-ctx.Done():
		// Both may have happened while this process was suspended. The end of the process counts.
		if done, err := p.ended(); err == nil && done {
			return nil
		}
		return context.Cause(ctx)
	}
}

func (p *Pin) watchEnd() {
	defer close(p.over)
	if p.proc.await() == nil {
		return
	}
	var done bool
	for {
		if done, p.err = p.ended(); done || p.err != nil {
			return
		}
		time.Sleep(pollInterval)
	}
}

// UID returns the effective user ID of the process. It returns os.ErrProcessDone if the process has
// ended, and errors.ErrUnsupported if the system does not report the ID.
func (p *Pin) UID() (int, error) {
	uid := -1
	err := p.ask(func() (err error) { uid, err = effectiveUID(p.pid); return err })
	if err != nil {
		return -1, fmt.Errorf("user of process %d: %w", p.pid, err)
	}
	return uid, nil
}

// HasOpen reports whether the process has a descriptor of that file. The error matches
// os.ErrProcessDone if the process has ended. It matches errors.ErrUnsupported if the system does
// not report descriptors, or not to this user.
func (p *Pin) HasOpen(file fs.FileInfo) (has bool, err error) {
	err = p.ask(func() (err error) { has, err = hasOpen(p.pid, file); return err })
	if err != nil {
		return false, fmt.Errorf("descriptors of process %d: %w", p.pid, err)
	}
	return has, nil
}

// ask calls about. about queries the system by PID. If the process has not ended afterwards, the
// answer was about this process.
func (p *Pin) ask(about func() error) error {
	err := about()
	switch done, endErr := p.ended(); {
	case endErr != nil:
		return endErr
	case done:
		return os.ErrProcessDone
	}
	return err
}

// Close releases the process and ends each Wait. After Close, every method but PID returns
// os.ErrClosed.
func (p *Pin) Close() error {
	err := os.ErrClosed
	if !p.closed.Swap(true) {
		err = p.proc.close()
	}
	if err != nil {
		return fmt.Errorf("close process %d: %w", p.pid, err)
	}
	return nil
}

func (p *Pin) ended() (bool, error) {
	if p.closed.Load() {
		return false, os.ErrClosed
	}
	done, err := p.proc.ended()
	return done, p.ifOpen(err)
}

// ifOpen returns err, or os.ErrClosed if a concurrent Close caused it: the error of a
// syscall.RawConn cannot be matched.
func (p *Pin) ifOpen(err error) error {
	if err != nil && p.closed.Load() {
		return os.ErrClosed
	}
	return err
}
