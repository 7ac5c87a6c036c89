package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/sys/bytetext"
)

// recordFormat is the version of the record in the state file.
const recordFormat = 1

// fileRecord is the content of the state file: a Status, and its times on the boot clock.
type fileRecord struct {
	Status
	Boottime *statefile.Times `json:"boottime,omitempty"` // of the times; nil: unknown
}

// times returns all times of a Status by their names in the record. A reader of the record thus
// knows how long ago an event was, even if the clock was set since then.
func (s *Status) times() map[string]*time.Time {
	times := map[string]*time.Time{"since": &s.Since, "started": &s.Started, "ready": &s.Ready, "next_restart": &s.NextRestart}
	if s.LastExit != nil {
		times["last_exit"] = &s.LastExit.At
	}
	if s.LastReload != nil {
		times["last_reload"] = &s.LastReload.At
	}
	if s.LastReopen != nil {
		times["last_reopen"] = &s.LastReopen.At
	}
	if s.LastUpgrade != nil {
		times["last_upgrade"] = &s.LastUpgrade.At
	}
	for i := range s.Draining {
		times[fmt.Sprintf("draining_%d", s.Draining[i].PID)] = &s.Draining[i].Until
	}
	if s.Failed != nil {
		times["failed"] = &s.Failed.At
	}
	return times
}

// encode returns the record of a Status for the state file f, which may be nil.
func (s Status) encode(f *statefile.File) ([]byte, error) {
	object, err := s.fit(f)
	if err != nil {
		return nil, err
	}
	return statefile.Seal(object)
}

// fit returns the Status as JSON, with the times that f has converted. It cuts texts until the JSON
// fits into a record.
func (s Status) fit(f *statefile.File) ([]byte, error) {
	s.Format = recordFormat
	boottime := f.Times(s.times())
	text, err := json.Marshal(fileRecord{s.asText(), boottime})
	for err == nil && len(text) > statefile.MaxObject && s.shorten() {
		text, err = json.Marshal(fileRecord{s.asText(), boottime})
	}
	if err == nil && len(text) > statefile.MaxObject {
		err = errors.New("does not fit")
	}
	return text, err
}

// asText returns a copy of s whose strings are UTF-8, as JSON requires. In paths and names, it
// escapes other bytes, and fromText reverses that. In other texts, bytes that are not UTF-8 become
// \xHH.
func (s Status) asText() Status {
	s.Name, s.LogFile = bytetext.Escape(s.Name), bytetext.Escape(s.LogFile)
	for _, text := range []*string{&s.Version, &s.Doing, &s.Text, &s.GaveUp, &s.Left, &s.WorkerVersion} {
		*text = bytetext.Valid(*text)
	}
	if s.LastExit != nil {
		e := *s.LastExit
		e.Error, e.Why = bytetext.Valid(e.Error), bytetext.Valid(e.Why)
		s.LastExit = &e
	}
	if s.Failed != nil {
		f := *s.Failed
		f.Component, f.Hook, f.Error, f.Also = bytetext.Valid(f.Component), bytetext.Valid(f.Hook), bytetext.Valid(f.Error), slices.Clone(f.Also)
		for i := range f.Also {
			f.Also[i] = bytetext.Valid(f.Also[i])
		}
		s.Failed = &f
	}
	s.LastReload, s.LastReopen, s.LastUpgrade = s.LastReload.asText(), s.LastReopen.asText(), s.LastUpgrade.asText()
	s.Draining = slices.Clone(s.Draining)
	for i := range s.Draining {
		s.Draining[i].Version, s.Draining[i].Text = bytetext.Valid(s.Draining[i].Version), bytetext.Valid(s.Draining[i].Text)
	}
	return s
}

func (s *Status) fromText() {
	s.Name, s.LogFile = bytetext.Unescape(s.Name), bytetext.Unescape(s.LogFile)
	s.LastReload.fromText()
	s.LastReopen.fromText()
	s.LastUpgrade.fromText()
}

// shorten cuts the longest text by a quarter, or a long list to 20 entries. It reports whether it
// has cut anything.
func (s *Status) shorten() bool {
	texts := []*string{&s.Name, &s.Version, &s.Doing, &s.Text, &s.LogFile, &s.GaveUp, &s.Left, &s.WorkerVersion}
	s.Draining = slices.Clone(s.Draining) // the life still uses the uncut values
	for i := range s.Draining {
		texts = append(texts, &s.Draining[i].Version, &s.Draining[i].Text)
	}
	s.LastUpgrade = s.LastUpgrade.copied(func(u *Upgrade) {
		texts = append(texts, &u.Component, &u.Hook, &u.Error, &u.Note, &u.OldVersion, &u.NewVersion)
	})
	if s.LastExit != nil {
		e := *s.LastExit // the life still uses the uncut value
		s.LastExit = &e
		texts = append(texts, &e.Error, &e.Why)
	}
	if s.Failed != nil {
		f := *s.Failed // the life still uses the uncut value
		f.Also = slices.Clone(f.Also)
		s.Failed = &f
		if len(f.Also) > 20 {
			f.Also = append(f.Also[:19:19], fmt.Sprintf("… and %d more", len(f.Also)-19))
			return true
		}
		texts = append(texts, &f.Component, &f.Hook, &f.Error)
		for i := range f.Also {
			texts = append(texts, &f.Also[i])
		}
	}
	for _, verdict := range []**Verdict{&s.LastReload, &s.LastReopen} {
		if *verdict == nil {
			continue
		}
		v := **verdict // the life still uses the uncut value
		v.Applied = slices.Clone(v.Applied)
		*verdict = &v
		if len(v.Applied) > 20 {
			v.Applied = append(v.Applied[:19:19], fmt.Sprintf("… and %d more", len(v.Applied)-19))
			return true
		}
		texts = append(texts, &v.Component, &v.Hook, &v.Error, &v.Note)
		for i := range v.Applied {
			texts = append(texts, &v.Applied[i])
		}
	}
	longest := texts[0]
	for _, text := range texts {
		if len(*text) > len(*longest) {
			longest = text
		}
	}
	if len(*longest) < 8 {
		return false
	}
	*longest = console.Cut(*longest, min(len(*longest)*3/4, statefile.Size))
	return true
}

// decodeStatus returns the Status of a JSON object that [Status.encode] has made.
func decodeStatus(object []byte) (s Status, err error) {
	var version struct{ Format int }
	if err := json.Unmarshal(object, &version); err != nil {
		return s, err
	}
	if version.Format != recordFormat {
		return s, fmt.Errorf("the record has format %d, but this program reads format %d", version.Format, recordFormat)
	}
	var r fileRecord
	if err := json.Unmarshal(object, &r); err != nil {
		return Status{}, err
	}
	r.Boottime.Correct(r.times())
	r.fromText()
	return r.Status, nil
}

// releaseKilled is releaseStale for a daemon that a verb has killed. It leaves a record of the
// kill. last is the last known status of the daemon.
func (p *plan) releaseKilled(last Status, why string) {
	pidfile.RemoveStale(p.pidFile, p.pidFileMode, patienceForDeath, func() {
		last.Name, last.Failed = p.name, newFailure(errors.New("killed: "+why))
		last.Failed.Code = 0
		p.leaveRecord(last)
	})
}

// removeStaleState removes the state file of a daemon that has died. It keeps a file that contains
// a failure, and a file with which the next start finds the remaining processes of the worker. The
// caller holds the lock.
func (p *plan) removeStaleState() {
	if s, err := lastState(p.pidFile); err != nil || s.Failed == nil && s.living().Surviving().IsZero() {
		_ = statefile.RemoveStale(statePath(p.pidFile))
	}
}

// leaveRecord writes a state file with the failure of a daemon that could not write the failure
// itself. It ignores an error, because the caller reports the failure too. The caller holds the
// lock.
func (p *plan) leaveRecord(s Status) {
	if last, err := lastState(p.pidFile); err == nil {
		s.keepMarks(last.living().Surviving())
	}
	f, err := statefile.Create(statePath(p.pidFile), p.pidFileMode)
	if err != nil {
		return
	}
	if record, err := s.external().encode(f); err == nil {
		_ = f.Write(1, record)
	}
	f.Keep()
}

// readStateOnce reads a state file. It returns an error if the file does not belong to that owner.
func readStateOnce(path string, owner int) (Status, error) {
	f, err := statefile.Open(path, owner)
	if err != nil {
		return Status{}, err
	}
	defer f.Close()
	return readStatus(f)
}

// statePath returns the path of the state file for a PID file.
func statePath(pidFile string) string { return strings.TrimSuffix(pidFile, ".pid") + ".state" }

// createState creates the state file. If processes of earlier workers still run, the file always
// contains the marks that identify them.
func (l *life) createState() (f *statefile.File, err error) {
	path := statePath(l.plan.pidFile)
	last, _ := lastState(l.plan.pidFile)
	l.marks.previous = last.living()
	surviving := l.marks.previous.Surviving()
	if surviving.IsZero() {
		f, err = statefile.Create(path, l.plan.pidFileMode)
		return f, stateFileError(path, err)
	}
	l.mu.Lock()
	l.status.keepMarks(surviving)
	l.mu.Unlock()
	record, err := l.snapshot().encode(nil)
	if err == nil {
		f, err = statefile.Replace(path, l.plan.pidFileMode, record)
	}
	return f, stateFileError(path, err)
}
