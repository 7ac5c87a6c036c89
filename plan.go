package lifecycle

import (
	"context"
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
)

// Option is a part of what a life is to be. Of two equal options the last wins, unless they say otherwise.
type Option interface{ apply(*plan) }

type option func(*plan)

func (o option) apply(p *plan) { o(p) }

// plan is what the options say. Once newPlan has returned it, nobody changes it.
type plan struct {
	identity
	placement
	timeouts
	components
	supervision

	embedded       bool
	processOptions []string // those that mean nothing if embedded
	wrong          []string // what was wrong with the options
}

// identity is who the life is, and what it lives in.
type identity struct {
	name      string
	version   string
	logger    *slog.Logger
	ownLogger bool
	base      context.Context
	env       env
}

// placement is where the process lives and with which rights.
type placement struct {
	pidFile     string
	pidFileSet  bool
	pidFileMode fs.FileMode

	detach                bool
	args                  []string // of the detached process; nil: as this one
	logFile, errorLogFile string   // as given; see logPaths
	logFileSet            bool
	workDir               string
	umask                 int // -1: as it is
	user, chroot          string
}

// timeouts are the limits of the phases. A zero startTimeout or stopTimeout is none: the hooks of a supervisor keep to
// limits of their own.
type timeouts struct {
	startTimeout, stopTimeout, reloadTimeout, stopDelay time.Duration

	longest *handshake.Limits // of a supervisor: how long it takes with its worker; nil: as the others say
}

// components are the functions that a life calls.
type components struct {
	fn          func(context.Context) error
	hooks       []Hooks
	loose       int // index of the component that the loose OnX options form, -1 if there is none
	readyWhen   func(context.Context) error
	signals     []signalHook
	every       []periodic
	watchdog    watchdog
	cleanErrors []error

	onReopen    func() error // after the log was reopened; nil: nothing
	onForceQuit func()       // before the process ends at once; nil: nothing
}

// supervision is what is supervised.
type supervision struct {
	policy  *RestartPolicy // nil: nothing
	program []string       // in the place of fn
}

// signalHook is what OnSignal was given.
type signalHook struct {
	signal os.Signal
	f      func(context.Context) error
}

// periodic is what Every was given.
type periodic struct {
	interval time.Duration
	f        func(context.Context) error
	now      chan chan<- error // has f called at once, for Tick
}

// watchdog is what Watchdog was given.
type watchdog struct {
	every time.Duration
	check func(context.Context) error
}

func defaultPlan(fn func(context.Context) error) *plan {
	return &plan{
		identity:   identity{name: programName(), base: context.Background(), env: osEnv{}},
		placement:  placement{pidFileMode: 0o644, umask: -1},
		timeouts:   timeouts{startTimeout: 60 * time.Second, stopTimeout: 20 * time.Second, reloadTimeout: 30 * time.Second},
		components: components{fn: fn, loose: -1},
	}
}

// refuse notes that an option is wrong.
func (p *plan) refuse(format string, args ...any) {
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// processOnly notes an option that means nothing in an embedded life, unless it was given to switch off what it names.
func (p *plan) processOnly(option string, on bool) {
	p.processOptions = slices.DeleteFunc(p.processOptions, func(other string) bool { return other == option })
	if on {
		p.processOptions = append(p.processOptions, option)
	}
}

// never is the deadline of what has no limit.
var never = time.Unix(1<<40, 0)

// deadline returns the end of a limit that begins then; a zero limit has none.
func deadline(begin time.Time, limit time.Duration) time.Time {
	if limit == 0 {
		return never
	}
	return begin.Add(limit)
}

func programName() string { return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") }

func hasControl(s string) bool {
	return strings.ContainsFunc(s, unicode.IsControl)
}

// Name sets the name of the program in messages and in the default paths. It must do as a file name. By default, the base
// name of the program.
func Name(name string) Option {
	return option(func(c *plan) { c.name = name })
}

// Version sets the version of the program that status shows. By default, none.
func Version(v string) Option {
	return option(func(c *plan) { c.version = v })
}

// Logger sets the logger of the life: phases, verdicts of reloads, hooks that overrun, panics. It must not block, since a
// life that stops waits for it. By default, slog.Default(), or where stderr is the journal of systemd and the program has
// left slog.Default() and package log as they were, a logger whose records carry a priority and no timestamp; see
// [StderrHandler] for those of the program.
func Logger(l *slog.Logger) Option {
	return option(func(c *plan) { c.logger = l })
}

// BaseContext sets the context whose values reach every hook and body, and whose end is a stop request. By default,
// context.Background().
func BaseContext(ctx context.Context) Option {
	return option(func(c *plan) {
		if ctx == nil {
			c.refuse("BaseContext(nil): use context.Background()")
			return
		}
		c.base = ctx
	})
}
