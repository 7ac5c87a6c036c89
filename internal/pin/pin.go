// Package pin holds on to one process, so that a signal can never reach another one that was given the same PID since.
//
// How firm the hold is depends on the system:
//
//	Linux            a pidfd: exact
//	  without one    an open /proc/PID/stat, looked at before each kill(2)
//	  nor /proc      kill(2) alone, which takes a zombie for alive
//	macOS, BSDs      a kqueue that is told of the end, looked at before each kill(2)
//	  refused one    kill(2) alone: OpenBSD and NetBSD tell only the owner of a process
//	other systems    none: Open answers errors.ErrUnsupported
//
// Between a look and the kill(2) after it lie a few instructions. For the signal to go astray, the process would have to
// end, be waited for by its parent, and its PID be given out again within them.
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

// pollInterval is how often Wait looks where the system does not tell of the end.
const pollInterval = 5 * time.Millisecond

// Pin is a hold on one process. Its methods may be called by several goroutines.
type Pin struct {
	pid    int
	proc   process
	closed atomic.Bool

	watch sync.Once
	over  chan struct{} // closed when the watch is over, for the reason in err
	err   error
}

// process is one way to hold on to a process.
type process interface {
	signal(sig os.Signal) error
	ended() (bool, error)
	// await blocks until the process has ended. Its error means that it cannot tell.
	await() error
	close() error
}

// Open pins the process that has the PID now. A process that has ended but was not waited for, a zombie, may be opened.
// Where there is no such process, the error matches os.ErrProcessDone, and so it does for a number that no process can
// have.
func Open(pid int) (*Pin, error) {
	return openBy(hold, pid)
}

func openBy(hold func(pid int) (process, error), pid int) (*Pin, error) {
	// kill(2) takes 0 and below for groups of processes, and pid_t has 32 bits: the kernel would take 1<<32 + 1 for 1.
	if pid <= 0 || pid > math.MaxInt32 {
		return nil, fmt.Errorf("open process %d: %w", pid, os.ErrProcessDone)
	}
	proc, err := hold(pid)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &Pin{pid: pid, proc: proc, over: make(chan struct{})}, nil
}

// PID returns the number the process was opened by. Another process may have it once this one has ended.
func (p *Pin) PID() int {
	return p.pid
}

// Signal sends sig to the process. Once the process has ended, a zombie included, it answers os.ErrProcessDone; without
// the right to send the signal, an error that matches fs.ErrPermission.
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

// Wait blocks until the process has ended, and returns nil then; it does not have to be a child. A zombie has ended.
// When ctx ends first, Wait returns its cause; a later Wait works as the first one did. Close ends it with os.ErrClosed.
//
// The first Wait that has to block starts a goroutine, which stays until the process has ended or the Pin is closed.
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
		if done, err := p.ended(); err == nil && done { // both were there to choose from, where this process stood still
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

// UID returns the effective user of the process. Once the process has ended, it answers os.ErrProcessDone; where the
// system does not tell, errors.ErrUnsupported.
func (p *Pin) UID() (int, error) {
	uid := -1
	err := p.ask(func() (err error) { uid, err = effectiveUID(p.pid); return err })
	if err != nil {
		return -1, fmt.Errorf("user of process %d: %w", p.pid, err)
	}
	return uid, nil
}

// HasOpen tells whether the process has a descriptor of that file. Its error matches os.ErrProcessDone where the process
// has ended, and errors.ErrUnsupported where the system does not tell, or not us.
func (p *Pin) HasOpen(file fs.FileInfo) (has bool, err error) {
	err = p.ask(func() (err error) { has, err = hasOpen(p.pid, file); return err })
	if err != nil {
		return false, fmt.Errorf("descriptors of process %d: %w", p.pid, err)
	}
	return has, nil
}

// ask asks something about the PID. That the process has not ended afterwards means that the PID was still its own.
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

// Close lets go of the process and ends each Wait. After it, every other method but PID answers os.ErrClosed.
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

// ifOpen returns err, or os.ErrClosed for the one that a concurrent Close made: a syscall.RawConn answers with one that
// cannot be matched.
func (p *Pin) ifOpen(err error) error {
	if err != nil && p.closed.Load() {
		return os.ErrClosed
	}
	return err
}
