package supervise

import (
	"encoding/json"
	"errors"
	"slices"

	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/sys/sdnotify"
)

// A worker sends its supervisor the same messages as to any service manager (sd_notify(3)), and
// these fields:
//
//	X_LIFECYCLE_ERROR    why a reload (with READY=1) or a start failed
//	X_LIFECYCLE_EXIT     the exit code that a failed start will have
//	X_LIFECYCLE_STATE    the state of a worker of this binary, which has no state file
//	X_LIFECYCLE_FAILURE  why such a worker ends, with component, hook and stack
//
// Only a worker of this binary sends the last two.

// report contains the fields of X_LIFECYCLE_STATE that the supervisor reads.
type report struct {
	Doing      string          `json:"doing"`
	Text       string          `json:"text"`
	LastReload json.RawMessage `json:"last_reload"`
	LastReopen json.RawMessage `json:"last_reopen"`
}

// These limits apply to a message of a worker before it is parsed. A state fits into maxReport,
// because it is never longer than a record. The two texts of a failure in JSON fit into maxFailure.
// Neither is nested deeper than maxDepth.
const (
	maxReport  = statefile.MaxObject
	maxFailure = 48 << 10
	maxError   = 16 << 10
	maxDepth   = 16
)

// object returns the JSON object in that field. It returns nil if there is no object, or if the
// object is too long or nested too deeply.
func object(m sdnotify.Message, name string, size int) json.RawMessage {
	text, ok := m.Value(name)
	if !ok || len(text) == 0 || text[0] != '{' || !isModest(text, size) || !json.Valid([]byte(text)) {
		return nil
	}
	return json.RawMessage(text)
}

// isModest reports whether a JSON text is at most size bytes long and at most maxDepth levels deep.
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

// isWorker reports whether pid is a worker. Messages from processes that a worker started do not
// count.
func (s *Supervisor) isWorker(pid int) bool {
	if s.worker(pid) != nil {
		return true
	}
	s.awaitFork() // a starting worker may send before fork has recorded it
	return s.worker(pid) != nil
}

// worker returns the worker with that PID, or nil.
func (s *Supervisor) worker(pid int) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.workers() {
		if p.PID == pid && p.state != gone {
			return p
		}
	}
	return nil
}

// workers returns all workers, the current one first. It may have ended. s.mu is held.
func (s *Supervisor) workers() (all []*process) {
	if p := s.last.Load(); p != nil {
		all = append(all, p)
	}
	return append(all, s.others...)
}

// received handles one message.
func (s *Supervisor) received(m sdnotify.Message) {
	request := newStoreRequest(m)
	p := s.worker(m.PID)
	if _, isReady := m.Value("READY"); isReady && p != nil && !isClosed(p.ready) {
		p.checkSignals()
	}
	s.mu.Lock()
	if p == nil || p.state == gone {
		request.close = m.Files
	} else {
		s.update(p, &request)
		if said, any := p.received(m); any {
			s.said(p, said)
		}
	}
	s.mu.Unlock()
	request.finish(s.spec.Log)
	s.deliver()
}

// update executes a request to store or to remove descriptors. Only the current worker may remove
// one: another worker may use it. s.mu is held.
func (s *Supervisor) update(p *process, r *storeRequest) {
	if !p.isCurrent() {
		r.remove = ""
	}
	s.store.update(r)
	if p.isCandidate() {
		for _, k := range r.add {
			if !slices.Contains(r.close, k.File) {
				p.stored = append(p.stored, k.File)
			}
		}
	}
}

// said reports the changes of a worker. It does not report changes of a candidate, because promote
// reports them. s.mu is held.
func (s *Supervisor) said(p *process, said Said) {
	switch {
	case p.isCurrent():
		s.emit(said)
	case p.drains && (said.Text != nil || said.Doing != nil):
		s.emit(Said{PID: p.PID, Text: said.Text, Doing: said.Doing})
	}
}

// received updates the state of the worker from a message, and returns the changes. Supervisor.mu
// is held.
func (p *process) received(m sdnotify.Message) (said Said, any bool) {
	first, wasUp, wasReloading := !p.usesNotify, isClosed(p.ready), p.state == reloading
	p.usesNotify = true
	now := object(m, "X_LIFECYCLE_STATE", maxReport)
	if now != nil {
		p.report = report{}
		_ = json.Unmarshal(now, &p.report)
		text, doing := p.report.Text, p.report.Doing
		said.Text, said.Doing = &text, &doing
		p.of.pending.of(p).reopened(p.report.LastReopen)
	} else if text, ok := m.Value("STATUS"); ok {
		p.report.Text = cut(text)
		text = p.report.Text
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
		// The worker requests that the supervisor ends it like a hanging worker (sd_notify(3)).
		p.abort(errors.New("it sent WATCHDOG=trigger"))
	}
	if wasReloading && p.state == ready {
		refusal, _ := m.Value("X_LIFECYCLE_ERROR")
		verdict := &Reload{Verdict: p.report.LastReload, Error: cut(refusal)}
		if !p.of.pending.of(p).finish(verdict.err()) {
			said.Reload = verdict
		}
	}
	said.Up = p.isUp()
	return said, said.Text != nil || said.Reload != nil || wasUp != isClosed(p.ready) || first
}

// receivedPhase changes the state according to READY, RELOADING and STOPPING. Supervisor.mu is
// held.
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
		p.of.pending.of(p).begin(m)
	case isReady && !p.stops():
		p.reportedReady()
	case refusal != "" && !isReady:
		p.failed = cut(refusal)
	}
}

func cut(text string) string { return text[:min(len(text), maxError)] }
