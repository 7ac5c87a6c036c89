package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// A record is a Status as the state file has it.

const (
	recordFormat = 1
	recordSize   = 4096
	sumFormat    = `,"sum":"%016x"}` + "\n"
	sumLength    = len(`,"sum":"0123456789abcdef"}`) + 1
	maxRecord    = recordSize - sumLength
)

// sumTable takes time to make, which a program that only starts another one should not.
var sumTable = sync.OnceValue(func() *crc64.Table { return crc64.MakeTable(crc64.ECMA) })

// encode makes a record. One pwrite(2) can be read half done, on tmpfs and ext4 alike, and reading twice does not help: hence
// the checksum.
func (s Status) encode() ([]byte, error) {
	text, err := s.fit()
	if err != nil {
		return nil, err
	}
	record := append(make([]byte, 0, recordSize), bytes.TrimSuffix(text, []byte("}"))...)
	for len(record) < maxRecord {
		record = append(record, ' ')
	}
	return fmt.Appendf(record, sumFormat, crc64.Checksum(record, sumTable())), nil
}

// fit is the Status as JSON, with texts that are cut so that it is no longer than a record.
func (s Status) fit() ([]byte, error) {
	s.Format = recordFormat
	text, err := json.Marshal(s)
	for err == nil && len(text) > maxRecord+1 && s.shorten() {
		text, err = json.Marshal(s)
	}
	if err == nil && len(text) > maxRecord+1 {
		err = errors.New("does not fit")
	}
	return text, err
}

// shorten cuts the longest text by a quarter, and says whether there was one.
func (s *Status) shorten() bool {
	texts := []*string{&s.Name, &s.Version, &s.Doing, &s.Text, &s.LogFile, &s.GaveUp}
	if s.LastExit != nil {
		e := *s.LastExit // the life goes on using the whole one
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
		texts = append(texts, &v.Component, &v.Hook, &v.Error)
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
	*longest = cut(*longest, min(len(*longest)*3/4, recordSize))
	return true
}

// cutTo shortens text if it is longer than that.
func cutTo(size int, text string) string {
	if len(text) <= size {
		return text
	}
	return cut(text, size)
}

// cut shortens text to at most that many bytes, and shows that it did.
func cut(text string, size int) string {
	const more = "…"
	text = strings.TrimSuffix(text, more)
	for size = min(size, len(text)) - len(more); size > 0 && !utf8.RuneStart(text[size]); size-- {
	}
	return text[:max(0, size)] + more
}

// errTorn says that a record was read while it was written, or that it was never written to its end.
var errTorn = errors.New("the record is damaged")

// decodeRecord reads a record, and nothing else.
func decodeRecord(record []byte) (s Status, err error) {
	if len(record) != recordSize {
		return s, errTorn
	}
	sum := fmt.Appendf(nil, sumFormat, crc64.Checksum(record[:maxRecord], sumTable()))
	if !bytes.Equal(record[maxRecord:], sum) {
		return s, errTorn
	}
	text := slices.Concat(bytes.TrimRight(record[:maxRecord], " "), []byte("}"))
	var version struct{ Format int }
	if err := json.Unmarshal(text, &version); err != nil {
		return s, err
	}
	if version.Format != recordFormat {
		return s, fmt.Errorf("the record has format %d, where this program knows format %d", version.Format, recordFormat)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return Status{}, err
	}
	return s, nil
}
