package console

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"example.com/lifecycle/internal/sys/terminal"
)

// progressInterval is the delay before the progress line appears, and the time between two updates.
const progressInterval = time.Second

// progress is a line that changes while a command waits:
//
//	waiting for echod (pid 12) to stop: OnStop of http, 2 s
type progress struct {
	tty   *os.File
	start time.Time
	text  func(elapsed time.Duration, columns int) string

	mu    sync.Mutex
	shown bool
	over  bool
}

// StartProgress shows a progress line on out, and rewrites it each second until stop is called.
// stop erases the line. text returns the line. The line must fit into that number of columns.
//
// The line appears only on a terminal that supports it, and only while this process is in the
// foreground of that terminal.
func StartProgress(out io.Writer, text func(elapsed time.Duration, columns int) string) (stop func()) {
	tty, ok := out.(*os.File)
	if !ok || !terminal.Is(tty) || !supportsANSI() {
		return func() {}
	}
	p := &progress{tty: tty, start: time.Now(), text: text}
	done := make(chan struct{})
	go p.run(done)
	return func() {
		close(done)
		p.clear()
	}
}

func (p *progress) run(done <-chan struct{}) {
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			// The call of text is without p.mu, because text may be slow and stop must not wait for it.
			p.show(p.text(time.Since(p.start).Truncate(time.Second), p.columns()))
		}
	}
}

// show writes the line, unless clear was called.
func (p *progress) show(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || terminal.InBackground(p.tty) {
		return
	}
	p.shown = true
	fmt.Fprint(p.tty, p.erase(), line) // one write(2)
}

// clear erases the line permanently.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.shown && !terminal.InBackground(p.tty) {
		fmt.Fprint(p.tty, p.erase())
	}
}

// erase returns the text that clears the current line. It uses spaces if the user has turned escape
// codes off.
func (p *progress) erase() string {
	if noColour() {
		return "\r" + strings.Repeat(" ", p.columns()) + "\r"
	}
	return "\r\x1b[K"
}

// columns returns the number of usable columns. It excludes the last column, because some terminals
// wrap after it.
func (p *progress) columns() int {
	columns := terminal.Columns(p.tty)
	if columns <= 0 {
		columns = 80
	}
	return columns - 1
}

// FitLine joins head, detail and tail into one line of at most that number of columns. It shortens
// detail first. If detail is not empty, separator is inserted before tail.
func FitLine(head, detail, separator, tail string, columns int) string {
	detail = fit(detail, columns-width(head)-width(separator+tail))
	if detail != "" {
		tail = separator + tail
	}
	return fit(head+detail+tail, columns)
}

// fit shortens text to that number of columns.
func fit(text string, columns int) string {
	for i, r := range text {
		if columns -= width(string(r)); columns < 0 {
			return text[:i]
		}
	}
	return text
}

// width returns the largest number of columns that text may take. A character outside of ASCII may
// take two.
func width(text string) (columns int) {
	for _, r := range text {
		columns++
		if r >= 0x80 {
			columns++
		}
	}
	return columns
}
