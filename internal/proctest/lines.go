package proctest

import (
	"bytes"
	"strings"
	"sync"
)

// Lines collects what a process writes. The zero value is empty. Several goroutines may use it at
// the same time.
type Lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends b.
func (l *Lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// Reset forgets what was written.
func (l *Lines) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

// String returns all text that was written.
func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Count returns how many complete lines contain text.
func (l *Lines) Count(text string) (n int) {
	for line := range strings.Lines(l.String()) {
		if strings.HasSuffix(line, "\n") && strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// Index returns the position of text, or -1 if it was not written.
func (l *Lines) Index(text string) int { return strings.Index(l.String(), text) }

// Say appends a line.
func (l *Lines) Say(line string) { _, _ = l.Write([]byte(line + "\n")) }

// All returns the lines that are not empty.
func (l *Lines) All() []string {
	return strings.FieldsFunc(l.String(), func(r rune) bool { return r == '\n' })
}
