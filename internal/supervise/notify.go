package supervise

import (
	"encoding/json"

	"example.com/lifecycle/internal/sdnotify"
	"example.com/lifecycle/internal/statefile"
)

// A worker says to its supervisor what it says to any service manager (sd_notify(3)), and what that has no field for:
//
//	X_LIFECYCLE_ERROR    why a reload (with READY=1) or a start has failed
//	X_LIFECYCLE_EXIT     the exit code that a failed start will have
//	X_LIFECYCLE_STATE    the state of a worker of this library, which has no state file
//	X_LIFECYCLE_FAILURE  why such a worker ends, with component, hook and stack
//
// The last two are for a supervisor of this library only.

// report is what the supervisor reads of X_LIFECYCLE_STATE.
type report struct {
	Doing      string          `json:"doing"`
	Text       string          `json:"text"`
	LastReload json.RawMessage `json:"last_reload"`
	LastReopen json.RawMessage `json:"last_reopen"`
}

// What a worker says is limited before it is parsed: a state is no longer than a record, a failure no longer than its two
// texts can be in JSON, and neither is deep.
const (
	maxReport  = statefile.MaxObject
	maxFailure = 48 << 10
	maxError   = 16 << 10
	maxDepth   = 16
)

// object returns the JSON object of that field, or nil if there is none that is small and flat.
func object(m sdnotify.Message, name string, size int) json.RawMessage {
	text, ok := m.Value(name)
	if !ok || len(text) == 0 || text[0] != '{' || !isModest(text, size) || !json.Valid([]byte(text)) {
		return nil
	}
	return json.RawMessage(text)
}

// isModest reports whether a JSON text is short and flat.
func isModest(text string, size int) bool {
	if len(text) > size {
		return false
	}
	depth, quoted, escaped := 0, false, false
	for i := range len(text) {
		switch c := text[i]; {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

// isWorker reports whether messages of that process count: only the worker's do, and not those of what it has started.
func (s *Supervisor) isWorker(pid int) bool {
	s.mu.Lock()
	p := s.last.Load()
	known := p != nil && pid == p.PID && p.state != gone
	s.mu.Unlock()
	if known {
		return true
	}
	s.awaitFork() // a worker that is being started may speak before it is known
	p = s.last.Load()
	return p != nil && pid == p.PID && !p.hasEnded()
}

// received handles one message.
func (s *Supervisor) received(m sdnotify.Message) {
	request := newStoreRequest(m)
	s.mu.Lock()
	p := s.last.Load()
	if p == nil || m.PID != p.PID || p.state == gone {
		request.close = m.Files
	} else {
		s.store.update(&request)
		if said, any := p.received(m); any {
			s.emit(said)
		}
	}
	s.mu.Unlock()
	request.finish(s.spec.Log)
	s.deliver()
}

// received changes what is known of the worker, and returns what is new in it. Supervisor.mu is held.
func (p *process) received(m sdnotify.Message) (said Said, any bool) {
	first, wasUp, wasReloading := !p.usesNotify, isClosed(p.ready), p.state == reloading
	p.usesNotify = true
	now := object(m, "X_LIFECYCLE_STATE", maxReport)
	if now != nil {
		p.report = report{}
		_ = json.Unmarshal(now, &p.report)
		said.Text, said.Doing = &p.report.Text, &p.report.Doing
		p.of.pending.reopened(p.report.LastReopen)
	} else if text, ok := m.Value("STATUS"); ok {
		text = cut(text)
		said.Text = &text
	}
	if failure := object(m, "X_LIFECYCLE_FAILURE", maxFailure); failure != nil {
		p.failure = failure
	}
	p.receivedPhase(m)
	if usec, ok := m.Value("EXTEND_TIMEOUT_USEC"); ok {
		p.extend(usec)
	}
	switch sign, _ := m.Value("WATCHDOG"); {
	case sign == "1" && p.watchdog != nil:
		p.resetWatchdog()
	case sign == "trigger":
		p.abort(errTriggered)
	}
	if wasReloading && p.state == ready {
		refusal, _ := m.Value("X_LIFECYCLE_ERROR")
		verdict := &Reload{Verdict: p.report.LastReload, Error: cut(refusal)}
		if !p.of.pending.finish(verdict.err()) {
			said.Reload = verdict
		}
	}
	said.Up = p.isUp()
	return said, said.Text != nil || said.Reload != nil || wasUp != isClosed(p.ready) || first
}

// receivedPhase changes the state as READY, RELOADING and STOPPING say. Supervisor.mu is held.
func (p *process) receivedPhase(m sdnotify.Message) {
	refusal, _ := m.Value("X_LIFECYCLE_ERROR")
	_, isReady := m.Value("READY")
	_, isReloading := m.Value("RELOADING")
	_, isStopping := m.Value("STOPPING")
	switch {
	case isStopping && !p.stops():
		p.handle(saidStopping)
	case isReloading && p.isUp():
		p.handle(saidReloading)
		p.of.pending.begin(m)
	case isReady && !p.stops():
		p.handle(saidReady)
	case refusal != "" && !isReady:
		p.failed = cut(refusal)
	}
}

func cut(text string) string { return text[:min(len(text), maxError)] }
