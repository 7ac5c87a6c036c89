package lifecycle

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"example.com/lifecycle/internal/terminal"
)

// A verb that waits longer than a second says so, and for whom, on one line that is written anew each second and is gone before anything else
// is said:
//
//	waiting for echod (pid 12) to stop: OnStop of http, 2 s
//
// It is for people: only a terminal shows it, and only to the job in its foreground.

// waiting is such a line.
type waiting struct {
	tty   *os.File
	begun time.Time
	text  func(passed time.Duration, room int) string

	mu    sync.Mutex
	shown bool
	over  bool
}

// showEvery is how long a wait is before it is shown, and then before it is shown anew.
const showEvery = time.Second

// showing does what takes its time, and shows meanwhile what it is that the daemon is to do.
func (p program) showing(what string, daemon *Process, do func() error) error {
	over := p.show(what, daemon.PID, daemon.Status)
	defer over()
	return do()
}

// showStart shows that it is waited for the start of that process, until over is called.
func (p program) showStart(pid int) (over func()) {
	return p.show("start", pid, func() (Status, error) {
		if p.pidFile == "" {
			return Status{}, errNoPIDFile
		}
		return lastState(p.pidFile)
	})
}

// show shows that it is waited for that process, until over is called. What status returns of another one, such as the one before it, does not count.
func (p program) show(what string, pid int, status func() (Status, error)) (over func()) {
	tty, ok := p.stderr.(*os.File)
	if !ok || !terminal.Is(tty) || !obeysCodes() {
		return func() {}
	}
	w := &waiting{tty: tty, begun: time.Now()}
	w.text = func(passed time.Duration, room int) string {
		s, err := status()
		if err != nil || s.PID != pid {
			s = Status{}
		}
		if s.Phase == Stopping && what == "start" { // it has failed, or was interrupted
			return waitingText(p.name, pid, "stop", s.Doing, passed, room)
		}
		return waitingText(p.name, pid, what, s.Doing, passed, room)
	}
	done := make(chan struct{})
	go w.tick(done)
	return func() {
		close(done)
		w.end()
	}
}

func (w *waiting) tick(done <-chan struct{}) {
	ticker := time.NewTicker(showEvery)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			// Not with the lock: to look can take a moment, for which the end of the wait does not wait.
			w.put(w.text(time.Since(w.begun).Truncate(time.Second), w.room()))
		}
	}
}

// put shows the line, unless the wait is over.
func (w *waiting) put(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || terminal.InBackground(w.tty) {
		return
	}
	w.shown = true
	fmt.Fprint(w.tty, w.erase(), line) // in one write(2)
}

// end takes the line away for good.
func (w *waiting) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.shown && !terminal.InBackground(w.tty) {
		fmt.Fprint(w.tty, w.erase())
	}
}

// erase is what makes the line that the cursor is on an empty one. Who has set NO_COLOR wants no escape codes, and gets spaces.
func (w *waiting) erase() string {
	if noColour() {
		return "\r" + strings.Repeat(" ", w.room()) + "\r"
	}
	return "\r\x1b[K"
}

// room is how many columns may be written to: the last one is not, for some terminals go to the next line with it.
func (w *waiting) room() int {
	columns := terminal.Columns(w.tty)
	if columns <= 0 {
		columns = 80 // as ever
	}
	return columns - 1
}

// waitingText is what is shown, on no more than room columns. Where there is not room for all, what the process is doing is cut first.
func waitingText(name string, pid int, what, doing string, passed time.Duration, room int) string {
	head := fmt.Sprintf("waiting for %s (pid %d) to %s: ", printable(name), pid, what)
	tail := tookText(passed)
	doing = fitted(printable(doing), room-width(head)-width(", "+tail))
	if doing != "" {
		tail = ", " + tail
	}
	return fitted(head+doing+tail, room)
}

// fitted is as much of text as there is room for.
func fitted(text string, room int) string {
	for i, r := range text {
		if room -= width(string(r)); room < 0 {
			return text[:i]
		}
	}
	return text
}

// width is how many columns a text takes at most: a character that is not ASCII may take two.
func width(text string) (columns int) {
	for _, r := range text {
		columns++
		if r >= 0x80 {
			columns++
		}
	}
	return columns
}
