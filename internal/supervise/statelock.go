package supervise

import "sync"

// stateLock guards the state of the worker. Code that holds the lock only changes that state. An
// effect of a change, such as a signal, a close or a log line, may block and would then delay a
// stop. After postpones effects until the lock is free.
type stateLock struct {
	mu      sync.Mutex
	effects []func()
	running int // number of effects that have not returned
}

func (l *stateLock) Lock() { l.mu.Lock() }

// After makes Unlock call f once the lock is free. Unlock calls several functions in the order of
// the calls to After. The caller holds the lock.
func (l *stateLock) After(f func()) { l.effects = append(l.effects, f) }

// Go makes Unlock call f in a goroutine of its own. The caller holds the lock.
func (l *stateLock) Go(f func()) {
	l.running++
	l.After(func() {
		go func() {
			defer l.done(1)
			f()
		}()
	})
}

// Unlock releases the lock and then runs the effects.
func (l *stateLock) Unlock() {
	effects := l.effects
	l.effects = nil
	l.running += len(effects)
	l.mu.Unlock()
	for _, do := range effects {
		do()
	}
	l.done(len(effects))
}

// done records that effects have returned.
func (l *stateLock) done(n int) {
	if n > 0 {
		l.mu.Lock()
		l.running -= n
		l.mu.Unlock()
	}
}
