package lifecycle

import (
	"cmp"
	"time"

	"example.com/lifecycle/internal/sdnotify"
)

// What a parent hears from its worker is what a worker tells any service manager, sd_notify(3). What that has no field for:
//
//	X_LIFECYCLE_ERROR    why a reload (with READY=1) or a start has failed
//	X_LIFECYCLE_EXIT     the exit code that the latter will have
//	X_LIFECYCLE_STATE    all that a worker of this library says of itself, as in its state file, which it has not got
//	X_LIFECYCLE_FAILURE  the failure with component, hook and stack, as the handshake has it
//
// The last two are for a parent only.

// listen hears the worker until the socket is closed.
func (s *supervisor) listen() {
	s.server.Serve(s.isWorker, func(m sdnotify.Message) {
		if tell := s.hear(m); tell != nil {
			tell()
		}
	})
}

// hearAll returns when all has been heard that was sent before, or after a while.
func (s *supervisor) hearAll() { s.server.Barrier(workerMargin) }

// isWorker reports whether a message of that process counts: only the worker's does, and not those of what it has started.
func (s *supervisor) isWorker(pid int) bool {
	s.awaitFork() // a worker that is being started is not known yet
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.worker.Load()
	return w != nil && pid == w.PID && !w.hasEnded()
}

// hear takes one message. It returns how to tell what is new, nil if there is nothing. What it closes or logs, it does without supervisor.mu.
func (s *supervisor) hear(m sdnotify.Message) (tell func()) {
	now, failed, store := stateFrom(m), failureFrom(m), newStoreRequest(m)
	defer func() {
		if len(store.close) > 0 {
			sdnotify.Discard(store.close...)
		}
		if store.warn != "" {
			s.life.log.Warn(store.warn)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.worker.Load()
	if w == nil || m.PID != w.PID || w.hasEnded() {
		store.close = m.Files
		return nil
	}
	first := !w.speaks
	w.speaks = true
	w.state = cmp.Or(now, w.state)
	w.failed = cmp.Or(failed, w.failed)
	refusal, _ := m.Value("X_LIFECYCLE_ERROR")
	refusal = cutTo(maxStack, refusal)
	_, isReady := m.Value("READY")
	_, isReloading := m.Value("RELOADING")
	_, isStopping := m.Value("STOPPING")
	wasReloading, wasReady := w.phase == Reloading, w.isReady()
	switch ends := w.asked || w.phase == Stopping; {
	case isStopping && !ends:
		w.phase = Stopping
		w.mustStopIn(s.of.wholeStop() + workerMargin)
		s.awaits.ends(errStopsInstead)
	case isReloading && wasReady && !ends:
		w.phase = Reloading
		s.awaits.begins(m)
	case isReady && !ends:
		w.becomesReady()
	case refusal != "" && !isReady:
		w.error = refusal
	}
	if usec, ok := m.Value("EXTEND_TIMEOUT_USEC"); ok {
		w.extend(usec)
	}
	switch sign, _ := m.Value("WATCHDOG"); {
	case sign == "1" && w.watch != nil:
		w.watchIt()
	case sign == "trigger":
		w.abort(errTriggered)
	}
	s.keep(&store)

	var verdict *Verdict
	if wasReloading && w.phase == Ready {
		verdict = w.verdict(refusal)
		if s.awaits.ends(w.reloadError(verdict)) {
			verdict = nil // its reload tells
		}
	}
	s.awaits.reopened(now)
	text, hasText := m.Value("STATUS")
	if now != nil {
		text, hasText = now.Text, true
	}
	if !hasText && verdict == nil && wasReady == w.isReady() && !first {
		return nil
	}
	return func() {
		w.tellUp(func(st *Status) {
			if hasText {
				st.Text = text
			}
			if now != nil {
				st.Doing = now.Doing
			}
			if verdict != nil {
				st.Reloads++
				st.LastReload = verdict
			}
		})
	}
}

// verdict is that of a reload that has ended. supervisor.mu is held.
func (w *workerProcess) verdict(refusal string) *Verdict {
	if w.state != nil && w.state.LastReload != nil {
		return w.state.LastReload
	}
	return &Verdict{At: time.Now(), Error: refusal}
}

func (w *workerProcess) reloadError(v *Verdict) error {
	if v.Error == "" {
		return nil
	}
	return &reloadError{cause: v.Err(), applied: v.Applied}
}
