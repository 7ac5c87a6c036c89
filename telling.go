package lifecycle

import (
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/statefile"
)

// A life keeps its Status in the state file beside its PID file, for as long as it has one.

// enterPIDFile acquires the lock, and writes the state before the PID: a process that finds the PID
// finds the state.
func (l *life) enterPIDFile() error {
	var lock *pidfile.Lock
	var err error
	if l.launcher != nil {
		lock, err = l.inheritLock(l.launcher.Lock)
	} else {
		lock, err = l.acquireLock()
	}
	if err != nil {
		return err
	}
	l.noteUnmarked(lock)
	if l.parent != nil {
		if left, err := lastState(l.pidFile); err == nil {
			l.parent.previous = left.Worker
		}
	}
	path := statePath(l.pidFile)
	state, err := statefile.Create(path, l.pidFileMode)
	if err != nil {
		l.log.Warn("no state file: status and reload will know less", "err", trimPrefix(stateFileError(path, err)))
	}
	l.mu.Lock() // somebody may insist already
	l.lock, l.state = lock, state
	l.mu.Unlock()
	l.publish()
	if err := lock.WritePID(); err != nil {
		return pidFileError(l.pidFile, err)
	}
	return nil
}

// noteUnmarked logs that others see less of the lock than they could.
func (l *life) noteUnmarked(lock *pidfile.Lock) {
	if err := lock.MarkErr(); err != nil {
		l.log.Debug("the PID file is locked, but not marked", "err", err)
	}
}

// leave removes the files of the life, the PID file last. It may be called again.
func (l *life) leave() {
	if l.snapshot().GaveUp != "" {
		l.publish() // no hook runs any more
		l.state.Keep()
	}
	l.removeState()
	removeErr, emptyErr := l.lock.Release()
	l.warnLeftover("PID file", removeErr, emptyErr)
}

// removeState removes the state file. It may be called again.
func (l *life) removeState() {
	removeErr, emptyErr := l.state.Remove()
	l.warnLeftover("state file", removeErr, emptyErr)
}

// checkPIDFile says, once, that the PID file was deleted or replaced, or its descriptor closed.
func (l *life) checkPIDFile() {
	if l.lock.DetectLost() {
		l.update(func(s *Status) { s.PIDFileLost = true })
		l.log.Warn("the PID file was deleted or replaced: a second start will not be refused", "pidfile", l.pidFile)
	}
}

// wasReady says whether the life has been ready.
func (l *life) wasReady() bool { return !l.snapshot().Ready.IsZero() }

// snapshot is what the life says about itself.
func (l *life) snapshot() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// update changes what the life says about itself, and writes it to the state file.
func (l *life) update(change func(*Status)) {
	l.mu.Lock()
	change(&l.status)
	l.seq++
	now, turn, state := l.status.external(), l.seq, l.state
	l.mu.Unlock()
	l.writeState(state, now, turn)
	l.manager.update(now, turn)
}

// publish writes what the life says about itself to the state file.
func (l *life) publish() { l.update(func(*Status) {}) }

// trackHook says which hook runs, or which body is waited for, and returns what ends that.
func (l *life) trackHook(label string) (done func()) {
	l.update(func(s *Status) { s.Doing = label })
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.status.Doing = "" // what comes next publishes it
	}
}
