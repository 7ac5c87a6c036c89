package lifecycle

import (
	"fmt"
	"time"

	"example.com/lifecycle/internal/console"
)

// withProgress calls do, and shows meanwhile on a terminal what the verb waits for.
func (p program) withProgress(what string, daemon *Process, do func() error) error {
	stop := p.showProgress(what, daemon.PID, daemon.Status)
	defer stop()
	return do()
}

// showStartProgress shows that the verb waits for that process to start, until stop is called.
func (p program) showStartProgress(pid int) (stop func()) {
	return p.showProgress("start", pid, func() (Status, error) {
		if p.pidFile == "" {
			return Status{}, errNoPIDFile
		}
		return lastState(p.pidFile)
	})
}

// showProgress shows that the verb waits for that process, until stop is called. It ignores the
// status of any other process, such as the daemon before this one.
func (p program) showProgress(what string, pid int, status func() (Status, error)) (stop func()) {
	return console.StartProgress(p.stderr, func(elapsed time.Duration, columns int) string {
		s, err := status()
		if err != nil || s.PID != pid {
			s = Status{}
		}
		what := what
		if s.Phase == Stopping && what == "start" { // it has failed, or was interrupted
			what = "stop"
		}
		return progressText(p.name, pid, what, s.Doing, elapsed, columns)
	})
}

// progressText returns the progress line: waiting for echod (pid 12) to stop: OnStop of http, 2 s.
func progressText(name string, pid int, what, doing string, elapsed time.Duration, columns int) string {
	head := fmt.Sprintf("waiting for %s (pid %d) to %s: ", console.SanitizeInline(name), pid, what)
	return console.FitLine(head, console.SanitizeInline(doing), ", ", console.FormatElapsed(elapsed), columns)
}
