package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/sys/ossignal"
	"example.com/lifecycle/internal/sys/startup"
)

// Option configures a life. If an option is given twice, the last one applies, unless its
// documentation says otherwise.
type Option interface{ apply(*plan) }

type option func(*plan)

func (o option) apply(p *plan) { o(p) }

// plan holds the values of the options. It does not change after newPlan has returned it.
type plan struct {
	identity
	placement
	timeouts
	components
	supervision

	embedded       bool
	processOptions []string // options without effect in an embedded life
	wrong          []string // what is wrong with the options
}

// identity holds the name of the life, its logger, its base context and its process.
type identity struct {
	name      string
	version   string
	logger    *slog.Logger
	ownLogger bool
	base      context.Context
	env       env
}

// placement holds where the process runs, and with which rights.
type placement struct {
	pidFile     string
	pidFileSet  bool
	noPIDFile   error // why pidFile is unknown; nil: it is known
	pidFileMode fs.FileMode

	detach                bool
	args                  []string // of the detached process; nil: those of this process
	logFile, errorLogFile string   // as given; see logPaths
	logFileSet            bool
	logFileMode           fs.FileMode
	workDir               string
	umask                 int // -1: unchanged
	user, chroot          string
}

// timeouts are the limits of the phases. A zero startTimeout or stopTimeout means no limit. They
// are zero in a supervisor, because its hooks have limits of their own.
type timeouts struct {
	startTimeout, stopTimeout, reloadTimeout, stopDelay time.Duration
	drainTimeout                                        time.Duration // -1: stopTimeout

	// longest holds the limits of a supervisor with its worker. If it is nil, the fields above
	// apply.
	longest *handshake.Limits
}

// components are the functions that a life calls.
type components struct {
	fn          func(context.Context) error
	hooks       []Hooks
	loose       int // index of the component that the single OnX options form; -1: none
	readyWhen   func(context.Context) error
	signals     []signalHook
	every       []periodic
	watchdog    watchdog
	cleanErrors []error

	onReopen    func(context.Context) error // called after the log was reopened; may be nil
	onForceQuit func()                      // called before the process ends at once; may be nil
	workerLogs  bool                        // set for a supervisor: its worker logs its own hooks
}

// supervision holds the options of a supervisor.
type supervision struct {
	policy    *RestartPolicy // nil: the life is not supervised
	program   []string       // runs instead of fn
	noOverlap bool           // an upgrade ends the old worker first
}

// signalHook holds the arguments of OnSignal.
type signalHook struct {
	signal os.Signal
	f      func(context.Context) error
}

// periodic holds the arguments of Every.
type periodic struct {
	interval time.Duration
	f        func(context.Context) error
	now      chan chan<- error // a result channel sent here calls f at once; for Tick
}

// watchdog holds the arguments of Watchdog.
type watchdog struct {
	every time.Duration
	check func(context.Context) error
}

func defaultPlan(fn func(context.Context) error) *plan {
	return &plan{
		identity:   identity{name: programName(), base: context.Background(), env: osEnv{}},
		placement:  placement{pidFileMode: 0o644, logFileMode: 0o640, umask: -1},
		timeouts:   timeouts{startTimeout: 60 * time.Second, stopTimeout: 20 * time.Second, reloadTimeout: 30 * time.Second, drainTimeout: -1},
		components: components{fn: fn, loose: -1},
	}
}

// refuse records that an option is wrong.
func (p *plan) refuse(format string, args ...any) {
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// processOnly records that an option has no effect in an embedded life. It records nothing if on is
// false, because the option then disables its feature.
func (p *plan) processOnly(option string, on bool) {
	p.processOptions = slices.DeleteFunc(p.processOptions, func(other string) bool { return other == option })
	if on {
		p.processOptions = append(p.processOptions, option)
	}
}

// refuseShared refuses a log file that is also the PID file or the state file. The daemon writes to
// those two files and removes them at its end. same reports whether two paths name one file.
func (p *plan) refuseShared(state string, defaultLog func() string, same func(path, other string) bool) {
	if p.pidFile == "" {
		return
	}
	for _, log := range [][2]string{{"LogFile", p.logFile}, {"ErrorLogFile", p.errorLogFile}} {
		option, path := log[0], log[1]
		switch {
		case path == "":
		case same(path, p.pidFile):
			p.refuse("%s(%q) and PIDFile(%q): the log would be the PID file; give it another path", option, path, p.pidFile)
		case same(path, state):
			p.refuse("%s(%q) and PIDFile(%q): the log would be the state file of that PID file; give it another path", option, path, p.pidFile)
		}
	}
	if log := p.name + ".log"; p.logFileSet || filepath.Base(p.pidFile) != log && filepath.Base(state) != log {
		return // the default log is another file, and finding it may be slow
	}
	if path := defaultLog(); path != "" && (same(path, p.pidFile) || same(path, state)) {
		p.refuse("PIDFile(%q): this path or its state file is the default log file; give it another path, or set LogFile", p.pidFile)
	}
}

// wrongError returns an error if an option is wrong.
func (p *plan) wrongError() error {
	if len(p.wrong) == 0 {
		return nil
	}
	return errors.New("lifecycle: wrong option: " + strings.Join(p.wrong, "; "))
}

// never is the deadline of a call without a limit.
var never = time.Unix(1<<40, 0)

// deadline returns the end of a limit that starts at begin. A zero limit never ends.
func deadline(begin time.Time, limit time.Duration) time.Time {
	if limit == 0 {
		return never
	}
	return begin.Add(limit)
}

// programName returns the base name of the program as it was called. If that is no file name, as
// with an empty argv[0], it returns the name of the executable.
func programName() string {
	if name := filepath.Base(startup.Args()[0]); validName(name) {
		return strings.TrimSuffix(name, ".exe")
	}
	path, _ := os.Executable() // if this fails, the name is ".", and complete refuses it
	return strings.TrimSuffix(filepath.Base(path), ".exe")
}

// validName reports whether a file can have that name.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, `/\`) && !hasControl(name)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, unicode.IsControl)
}

// Name sets the name of the program in messages and in the default paths. It must be a valid file
// name. By default, it is the base name of the program.
func Name(name string) Option {
	return option(func(c *plan) { c.name = name })
}

// Version sets the version of the program that the verbs status and version show. By default, there
// is none.
func Version(v string) Option {
	return option(func(c *plan) { c.version = v })
}

// Logger sets the logger of the life. The life logs its phases, the verdicts of reloads, hooks that
// exceed their time, and panics. The logger must not block, because the life waits for each record.
// If stderr is the journal of systemd, each line of the default logger carries a priority and no
// timestamp, unless the program has changed slog.Default() or package log. [StderrHandler] gives
// other records of the program the same form. By default, the logger is slog.Default().
func Logger(l *slog.Logger) Option {
	return option(func(c *plan) { c.logger = l })
}

// BaseContext sets the context of the life. The contexts of all hooks and bodies carry its values.
// When it ends, the life stops. By default, it is context.Background().
func BaseContext(ctx context.Context) Option {
	return option(func(c *plan) {
		if ctx == nil {
			c.refuse("BaseContext(nil): use context.Background()")
			return
		}
		c.base = ctx
	})
}

// namesNothing reports whether the options name nothing to run. Then a call with them can only name
// a daemon that runs.
func (p *plan) namesNothing() bool {
	return p.policy != nil && p.program == nil && p.fn == nil && !slices.ContainsFunc(p.hooks, hasMoreThanCheck)
}

// handlesUser2 reports whether the program has an OnSignal for the signal of an upgrade.
func (p *plan) handlesUser2() bool {
	return slices.ContainsFunc(p.signals, func(h signalHook) bool { return h.signal == ossignal.User2 })
}
