package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/lifecycle/internal/safefile"
	"example.com/lifecycle/internal/supervise"
)

// RestartPolicy says when a worker that has ended is started again; see [Supervise]. The zero value is a good one.
type RestartPolicy struct {
	Always     bool          // also after a clean exit; default: only after a failure
	MinDelay   time.Duration // before the first restart in a row; default 100 ms, negative: none; none too if the worker had been ready for Reset
	MaxDelay   time.Duration // default 30 s; doubles in between, with jitter
	Reset      time.Duration // a worker ready this long starts a new row; default 10 s
	Limit      int           // crashes within Window before giving up; default 10; negative: never
	Window     time.Duration // default 1 min
	Permanent  []int         // exit codes that are not retried; default 64, 66, 77, 78 (sysexits); an empty slice: none
	Foreground bool          // supervise under run too
	Settle     time.Duration // with Program: ready after living this long, unless it speaks sd_notify; default 100 ms
}

// Supervise has a small parent look after the life: it starts the program again as its worker, restarts that when it has crashed, and is the process that has
// the PID file, so that the PID never changes. The parent runs no hook and no body; hooks, bodies, [User] and [Chroot] are the worker's. Signals go on to the worker,
// but for TERM and INT, which stop both, and the stop has StopTimeout as ever; a worker that overruns it gets KILL. What Run returns in the parent is what it
// returned in the worker that the stop has ended, or says why there is none any more.
//
// The first worker that fails fails the start. Later, the policy decides: a worker that has ended with an error, a crash or because [Watchdog] found it
// hanging is started again, after a delay that doubles. What a worker leaves behind, whatever it has detached, is ended before the next one starts. What
// socket.Listen has bound stays open meanwhile, so no connection is refused. When the parent is killed, the worker stops, within a second.
//
// The verb start, [Detach] and [Ensure] supervise. Run and the verb run do so only as process 1 of a container, with [Program] or with Foreground: a
// service manager restarts by itself. The program's main runs in parent and worker, up to Run and after it. The parent speaks to its worker as systemd does (sd_notify(3)). Only Linux has it. By
// default, nothing is supervised.
func Supervise(p RestartPolicy) Option {
	return option(func(c *plan) {
		for name, d := range map[string]time.Duration{"MaxDelay": p.MaxDelay, "Reset": p.Reset, "Window": p.Window, "Settle": p.Settle} {
			if d < 0 {
				c.refuse("Supervise: %s is %v: must not be negative", name, d)
			}
		}
		p = p.completed()
		c.policy = &p
		c.processOnly("Supervise", true)
	})
}

// completed fills the defaults in.
func (p RestartPolicy) completed() RestartPolicy {
	for field, def := range map[*time.Duration]time.Duration{
		&p.MinDelay: 100 * time.Millisecond, &p.MaxDelay: 30 * time.Second, &p.Reset: 10 * time.Second,
		&p.Window: time.Minute, &p.Settle: 100 * time.Millisecond,
	} {
		if *field == 0 {
			*field = def
		}
	}
	if p.Limit == 0 {
		p.Limit = 10
	}
	if p.Permanent == nil {
		p.Permanent = []int{64, 66, 77, 78} // EX_USAGE, EX_NOINPUT, EX_NOPERM, EX_CONFIG
	}
	p.MaxDelay = max(p.MaxDelay, p.MinDelay)
	return p
}

// Exit is how a worker has ended.
type Exit struct {
	At     time.Time `json:"at"`
	PID    int       `json:"pid"`
	Code   int       `json:"code"`             // -1: by a signal
	Signal string    `json:"signal,omitempty"` // SIGSEGV
	Error  string    `json:"error,omitempty"`  // what it said last
	Why    string    `json:"why,omitempty"`    // why its parent has ended it
}

// text returns the exit as people read it: exit 1 "db: connection refused".
func (e *Exit) text() string { return supervise.Exit(*e).Text() }

// Program has the life of another program looked after instead of fn: any that stays in the foreground, whether it knows of this library or not. argv is its
// name, which is looked for in PATH, and its arguments. Root takes nothing from PATH that others can replace, and needs the path then. It is supervised under run too; see [Supervise], of which the zero policy is the default here.
//
// It is ready when it says so, if it speaks sd_notify(3), else when it has lived for Settle. HUP, USR1 and what [OnSignal] names go on to it where it catches
// them; those that would end it do not, and are an error of the reload. It is killed when its parent is. Its output goes where that of the
// parent goes, so logrotate(8) needs copytruncate for it, unless it reopens its log by USR1. It is started in the directory of the start, unless WorkDir says
// otherwise. By default, fn is what lives.
func Program(argv ...string) Option {
	return option(func(c *plan) {
		if len(argv) == 0 || argv[0] == "" {
			c.refuse("Program: needs the name of a program")
			return
		}
		c.program = slices.Clone(argv)
		c.processOnly("Program", true)
	})
}

func (c *plan) completeSupervise() {
	if c.program == nil {
		return
	}
	if c.policy == nil {
		policy := RestartPolicy{}.completed()
		c.policy = &policy
	}
	for option, given := range map[string]bool{
		"a function to run": c.fn != nil, "hooks": len(c.hooks) > 0, "ReadyWhen": c.readyWhen != nil,
		"Every": len(c.every) > 0, "Watchdog": c.watchdog.check != nil,
	} {
		if given {
			c.refuse("Program(%q): %s cannot be given beside it, for nothing of this program runs then", c.program[0], option)
		}
	}
	if strings.ContainsRune(c.program[0], filepath.Separator) {
		path, err := filepath.Abs(c.program[0])
		if err != nil {
			c.refuse("Program(%q): %v", c.program[0], err)
		}
		c.program[0] = path
	}
}

// findProgram finds the program that is supervised, "" if it is this one.
func (c *plan) findProgram() (path string, err error) {
	switch {
	case c.program == nil:
		return "", nil
	case c.chroot != "": // it is inside of that
		return c.program[0], nil
	}
	if path, err = exec.LookPath(c.program[0]); err != nil {
		cause := err
		if failed := new(exec.Error); errors.As(err, &failed) {
			cause = safefile.Cause(c.program[0], failed.Err)
		}
		return "", fmt.Errorf("lifecycle: program %s: %w", c.program[0], cause)
	}
	if filepath.Base(c.program[0]) == c.program[0] && os.Geteuid() == 0 {
		if err := safefile.GuardedProgram(path); err != nil {
			return "", fmt.Errorf("lifecycle: program %s: root executes nothing that PATH leads to and others can replace: %w; "+
				"give its path, if it is meant", c.program[0], err)
		}
	}
	return path, nil
}

// isFinal reports whether a worker that ends by itself with that exit code is not started again, however
// often it has failed.
func (p *RestartPolicy) isFinal(code int) bool {
	return code == 0 && !p.Always || slices.Contains(p.Permanent, code)
}
