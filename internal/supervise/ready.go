package supervise

import (
	"context"
	"runtime/debug"
	"time"
)

// settle reports that a supervised program is ready, because it has lived for Settle. It does
// nothing if the program uses sd_notify.
func (p *process) settle() {
	p.checkSignals()
	p.of.mu.Lock()
	if !p.usesNotify && p.state == starting {
		p.reportedReady()
	}
	p.of.mu.Unlock()
	p.of.deliver()
}

// reportedReady is called when the worker has sent READY=1 or has lived for Settle. With
// Spec.Ready, the worker becomes ready only when Spec.Ready returns nil. Supervisor.mu is held.
func (p *process) reportedReady() {
	switch {
	case p.of.spec.Ready == nil, isClosed(p.ready):
		if p.handle(saidReady) {
			p.of.emit(Said{Up: true})
		}
	case !p.confirming:
		p.confirming = true
		go p.confirm()
	}
}

// confirm calls Spec.Ready until it returns nil, or until the program ends.
func (p *process) confirm() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-p.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil {
		final, err := p.of.spec.Ready(ctx)
		p.checkSignals()
		p.of.mu.Lock()
		switch {
		case err == nil && p.handle(saidReady):
			p.of.emit(Said{Up: true})
		case err != nil && final && !p.stops():
			p.why = err
			p.handle(deadlineExpired)
		}
		p.notReady = err
		over := err == nil || final || p.stops()
		p.of.mu.Unlock()
		p.of.deliver()
		if over || !pause(ctx, askAgain) {
			return
		}
	}
}

// askAgain is the delay before Spec.Ready is called again after an error.
const askAgain = 50 * time.Millisecond

// becameReady records that the worker is ready for the first time. It does nothing if the worker
// was ready before. Supervisor.mu is held.
func (p *process) becameReady() {
	if !p.readyAt.IsZero() {
		return
	}
	p.readyAt = time.Now()
	p.deadline = time.Time{}
	p.timer.Stop()
	p.resetWatchdog()
	if p.staleLog {
		// A supervised program that does not handle the signal keeps the old log.
		p.of.mu.After(func() { _ = p.pass(p.of.spec.Policy.ReopenSignal) })
	}
	if p.successor {
		p.of.mu.After(func() { p.of.spec.Log.Info("the worker is ready", "worker", p.PID) })
	}
	close(p.ready)
	if p.isCurrent() {
		p.of.upgrade.handle(workerReady)
	}
	go debug.FreeOSMemory() // frees the memory of the start: the supervisor may be idle for months
}
