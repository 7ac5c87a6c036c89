package supervise

import "sync"

// stateLock guards what a supervisor knows of its worker. Its holder only changes that. An effect of a change, such as a
// signal, a close or a line in the log, may take long or hang, which would hold up a stop: After puts it off until the
// lock is free.
type stateLock struct {
	mu      sync.Mutex
	effects []func()
}

func (l *stateLock) Lock() { l.mu.Lock() }

// After has Unlock call f when the lock is free, in the order of the calls. The lock is held.
func (l *stateLock) After(f func()) { l.effects = append(l.effects, f) }

// Unlock frees the lock and then runs the effects.
func (l *stateLock) Unlock() {
	effects := l.effects
	l.effects = nil
	l.mu.Unlock()
	for _, do := range effects {
		do()
	}
}
