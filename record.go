package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/sys/bytetext"
)

// recordFormat is the version of the record in the state file.
const recordFormat = 1

// fileRecord is a Status as it is in the state file.
type fileRecord struct {
	Status
	Boottime *statefile.Times `json:"boottime,omitempty"` // of the times; nil: unknown
}

// times returns all times of a Status by their names in the record. So the reader of a record knows
// how long ago something was even if the time of day was set since.
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

// asText returns a copy of s whose strings are UTF-8, as JSON demands. Paths and names can have any
// bytes. fromText reverses it for them. In other texts, bytes that are not UTF-8 become \xHH.
func (s Status) asText() Status {
	s.Name, s.LogFile = bytetext.Escape(s.Name), bytetext.Escape(s.LogFile)
	for _, text := range []*string{&s.Version, &s.Doing, &s.Text, &s.GaveUp, &s.Left} {
		*text = bytetext.Valid(*text)
	}
	if s.LastExit != nil {
		e := *s.LastExit
		e.Error, e.Why = bytetext.Valid(e.Error), bytetext.Valid(e.Why)
		s.LastExit = &e
	}
	s.LastReload, s.LastReopen = s.LastReload.asText(), s.LastReopen.asText()
	return s
}

func (s *Status) fromText() {
	s.Name, s.LogFile = bytetext.Unescape(s.Name), bytetext.Unescape(s.LogFile)
	s.LastReload.fromText()
	s.LastReopen.fromText()
}

// shorten cuts the longest text by a quarter. It reports whether there was a text to cut.
func (s *Status) shorten() bool {
	texts := []*string{&s.Name, &s.Version, &s.Doing, &s.Text, &s.LogFile, &s.GaveUp, &s.Left}
	if s.LastExit != nil {
		e := *s.LastExit // the life still uses the uncut value
		s.LastExit = &e
		texts = append(texts, &e.Error, &e.Why)
	}
	for _, verdict := range []**Verdict{&s.LastReload, &s.LastReopen} {
		if *verdict == nil {
			continue
		}
		v := **verdict // as above
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
	*longest = cut(*longest, min(len(*longest)*3/4, statefile.Size))
	return true
}

// cutTo returns text, cut to at most size bytes.
func cutTo(size int, text string) string {
	if len(text) <= size {
		return text
	}
	return cut(text, size)
}

// cut cuts text to at most size bytes, and marks the cut with an ellipsis.
func cut(text string, size int) string {
	const more = "…"
	text = strings.TrimSuffix(text, more)
	for size = min(size, len(text)) - len(more); size > 0 && !utf8.RuneStart(text[size]); size-- {
	}
	return text[:max(0, size)] + more
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
