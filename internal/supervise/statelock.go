package supervise

import "sync"

// stateLock guards the state of the worker. Its holder only changes that state. An effect of a
// change, such as a signal, a close or a log line, may take long or hang, which would delay a stop.
// After postpones the effect until the lock is free.
type stateLock struct {
	mu      sync.Mutex
	effects []func()
}

func (l *stateLock) Lock() { l.mu.Lock() }

// After makes Unlock call f when the lock is free, in the order of the calls. The lock is held.
func (l *stateLock) After(f func()) { l.effects = append(l.effects, f) }

// Unlock releases the lock and then runs the effects.
func (l *stateLock) Unlock() {
	effects := l.effects
	l.effects = nil
	l.mu.Unlock()
	for _, do := range effects {
		do()
	}
}
