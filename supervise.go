package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/ossignal"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/startup"
)

// RestartPolicy configures when an ended worker is restarted; see [Supervise]. A zero field has the
// default value.
type RestartPolicy struct {
	// Always restarts a worker after a clean exit too. By default, only a failure causes a restart.
	Always bool

	// MinDelay is the delay before the first restart of a series. The delay doubles with each
	// restart up to MaxDelay, with jitter. A negative MinDelay means no delay. The defaults are
	// 100 ms and 30 s.
	MinDelay time.Duration
	MaxDelay time.Duration

	// Reset ends a series: a worker that was ready this long is restarted without delay. The
	// default is 10 s.
	Reset time.Duration

	// Limit is the number of exits after which the supervisor gives up. There are two counts: the
	// exits within Window, and the exits since the last worker that was ready for Reset. The
	// supervisor gives up when one of them reaches Limit. A negative Limit means that the
	// supervisor never gives up. The defaults are 10 and 1 min.
	Limit  int
	Window time.Duration

	// Permanent contains the exit codes after which a worker is not restarted. The default is 64, 66,
	// 77 and 78 (sysexits). The default lacks 66 if this program was built with -race, because the
	// race detector exits with 66. An empty slice means none.
	Permanent []int

	// Foreground enables supervision under Run and the verb run too.
	Foreground bool

	// Settle is how long a supervised program (see [Program]) must live to be ready, unless it uses
	// sd_notify(3). The default is 100 ms.
	Settle time.Duration

	// Notify requires READY=1 from a supervised program, as Type=notify of systemd does. By default, a
	// program that does not use sd_notify(3) is ready after Settle.
	Notify bool

	// Clean contains the exit codes that are no failure after a stop request. The default is 0, 130
	// and 143 (128 plus the signal, as shells and the JVM exit).
	Clean []int

	// The supervisor sends these signals to a supervised program: StopSignal for a stop, ReloadSignal
	// for a reload, and ReopenSignal after it has reopened its own log. The defaults are TERM, HUP and
	// none.
	StopSignal   os.Signal
	ReloadSignal os.Signal
	ReopenSignal os.Signal

	// KeepOrphans keeps the processes that have left the process group of a supervised program, such
	// as the sessions of sshd. They outlive the program. By default, the supervisor ends them with it.
	KeepOrphans bool
}

// Supervise runs the life in a worker process under a small supervisor process. The supervisor
// starts this binary again as its worker and restarts the worker after a crash. The supervisor
// holds the PID file, so the PID never changes. The supervisor runs no hook and no body: hooks,
// bodies, [User] and [Chroot] apply to the worker. It forwards signals to the worker, except TERM
// and INT, which stop both. StopTimeout limits the stop as usual. The supervisor kills a worker
// that exceeds it. In the supervisor, Run returns the error of Run in the stopped worker. If the
// supervisor has given up, Run returns the reason.
//
// If the first worker fails, the start fails. Later, the policy applies: the supervisor restarts a
// worker that ended with an error, crashed, or failed its [Watchdog]. The delay before a restart
// doubles with each restart. Before the next worker starts, the supervisor ends all processes that
// a worker leaves behind, even detached ones. Sockets from socket.Listen stay open meanwhile, so no
// connection is refused. USR2 and the verb upgrade replace the program without a pause; see
// [Process.Upgrade]. If the supervisor is killed, the worker stops within a second.
//
// The verb start, [Detach] and [Ensure] supervise. Run and the verb run supervise only as process 1
// of a container, with [Program], or with Foreground. In all other cases, the process has no
// supervisor, because a service manager usually restarts it. The code of main before and after Run
// runs in the supervisor and in the worker. The supervisor and its worker communicate as systemd
// and a service do (sd_notify(3)). Supervise requires Linux. By default, nothing is supervised.
func Supervise(p RestartPolicy) Option {
	return option(func(c *plan) {
		for name, d := range map[string]time.Duration{"MaxDelay": p.MaxDelay, "Reset": p.Reset, "Window": p.Window, "Settle": p.Settle} {
			if d < 0 {
				c.refuse("Supervise: %s is %v: must not be negative", name, d)
			}
		}
		c.policy = &p
		c.processOnly("Supervise", true)
	})
}

// completed returns the policy with the defaults filled in. thisBinary is false for a supervised
// program.
func (p RestartPolicy) completed(thisBinary bool) *RestartPolicy {
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
		p.Permanent = supervise.DefaultPermanent(thisBinary)
	}
	if p.Clean == nil {
		p.Clean = []int{0, 128 + 2, 128 + 15}
	}
	if p.StopSignal == nil {
		p.StopSignal = syscall.SIGTERM
	}
	if p.ReloadSignal == nil {
		p.ReloadSignal = syscall.SIGHUP
	}
	if p.ReopenSignal == nil && thisBinary {
		p.ReopenSignal = ossignal.User1
	}
	p.MaxDelay = max(p.MaxDelay, p.MinDelay)
	return &p
}

// Exit describes how a worker ended.
type Exit struct {
	At     time.Time `json:"at"`
	PID    int       `json:"pid"`
	Code   int       `json:"code"`             // -1: a signal ended the worker, or it runs on
	Signal string    `json:"signal,omitempty"` // such as SIGSEGV
	Error  string    `json:"error,omitempty"`  // last error or output of the worker
	Why    string    `json:"why,omitempty"`    // why the supervisor ended the worker
}

// text returns the exit for people, such as: exit 1 "db: connection refused".
func (e *Exit) text() string { return supervise.Exit(*e).Text() }

// Program supervises a program instead of running fn. The supervised program need not use this
// library, but it must stay in the foreground. argv contains the name of the program and its
// arguments. The name is looked up in PATH. Root runs no program from PATH that other users can
// replace: for such a program, argv must begin with its path. The verb run supervises the program
// too. Without [Supervise], the zero [RestartPolicy] applies.
//
// A supervised program that uses sd_notify(3) is ready when it sends READY=1. Any other program is
// ready when it has lived for Settle. [ReadyWhen], if given, must then return nil too. Before a
// reload or restart, the supervisor calls [OnCheck]. ReadyWhen and OnCheck run in this binary.
//
// A reload sends ReloadSignal to the program. The program reports the result with RELOADING=1, then
// READY=1. If the program neither sends RELOADING=1 nor ends within Settle, the verb reload reports
// that the result is unknown. The supervisor forwards the signals of [OnSignal]. It never sends a
// signal that the program ignores or that would end the program; a reload then fails.
//
// StopSignal asks the program to stop. The processes that the program leaves behind then have the
// rest of StopTimeout to end. If the supervisor is killed, the kernel kills the program too, unless
// the program has changed its user. An upgrade replaces this binary, and the program runs on.
//
// The program and the supervisor write to the same output. If that is a log file, logrotate(8)
// needs copytruncate, unless the program reopens the file on ReopenSignal. The program starts in
// the working directory of the start, or in WorkDir. By default, Run runs fn.
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

// DrainTimeout sets how long a worker that an upgrade has replaced may take to stop. It has the
// meaning that [StopTimeout] has for any other stop, and the same grace period follows. [StopDelay]
// does not apply, because another worker serves already. 0 means no limit. By default, it is the
// StopTimeout.
func DrainTimeout(d time.Duration) Option {
	return option(func(c *plan) {
		if d < 0 {
			c.refuse("DrainTimeout(%v): must not be negative", d)
		}
		c.drainTimeout = d
		c.processOnly("DrainTimeout", true)
	})
}

// NoOverlap makes an upgrade stop the old worker before it starts the new one, for a program of
// which two workers must never run at once. Clients wait meanwhile: their connections stay in the
// backlog of the sockets of package socket. If the new worker fails, the supervisor starts a worker
// of the old program again. By default, the old worker serves until the new one is ready.
func NoOverlap() Option {
	return option(func(c *plan) {
		c.noOverlap = true
		c.processOnly("NoOverlap", true)
	})
}

func (p *plan) completeSupervise() {
	if p.program == nil && p.policy == nil {
		return
	}
	policy := p.policy
	if policy == nil {
		policy = new(RestartPolicy)
	}
	if p.program == nil && (policy.Notify || policy.StopSignal != nil || policy.ReloadSignal != nil || policy.ReopenSignal != nil || policy.KeepOrphans) {
		p.refuse("Supervise: Notify, StopSignal, ReloadSignal, ReopenSignal and KeepOrphans need Program")
	}
	p.policy = policy.completed(p.program == nil)
	if p.program != nil {
		p.completeProgram()
	} else if p.handlesUser2() && !p.namesNothing() {
		p.refuse("OnSignal(%v) and Supervise: this signal upgrades a supervised daemon; use another one", ossignal.User2)
	}
}

func (p *plan) completeProgram() {
	var useless []string
	for option, given := range map[string]bool{
		"a function to run": p.fn != nil, "Every": len(p.every) > 0, "Watchdog": p.watchdog.check != nil, "CleanErrors": len(p.cleanErrors) > 0,
		"OnReopen": p.onReopen != nil, "NoOverlap": p.noOverlap,
	} {
		if given {
			useless = append(useless, option)
		}
	}
	for _, h := range p.hooks {
		for _, hook := range h.withoutCheck() {
			useless = append(useless, hook+" of "+h.Name)
		}
	}
	slices.Sort(useless)
	for _, option := range useless {
		p.refuse("Program(%q): cannot be combined with %s, because the worker runs no code of this program", p.program[0], option)
	}
	if p.stopDelay > 0 {
		p.refuse("Program(%q) and StopDelay(%v): the program gets its stop signal at once, because it has no way to report that it is not ready; leave out StopDelay",
			p.program[0], p.stopDelay)
	}
	if strings.ContainsRune(p.program[0], filepath.Separator) {
		path, err := startup.Abs(p.program[0])
		if err != nil {
			p.refuse("Program(%q): %v", p.program[0], err)
		}
		p.program[0] = path
	}
}

// findProgram returns the path of the supervised program, or "" for a worker of this binary.
func (p *plan) findProgram() (path string, err error) {
	switch {
	case p.program == nil:
		return "", nil
	case p.chroot != "": // the path is inside the new root
		return p.program[0], nil
	}
	if path, err = exec.LookPath(p.program[0]); err != nil {
		cause := err
		if failed := new(exec.Error); errors.As(err, &failed) {
			cause = safefile.Cause(p.program[0], failed.Err)
		}
		return "", fmt.Errorf("lifecycle: program %s: %w", p.program[0], cause)
	}
	if filepath.Base(p.program[0]) == p.program[0] && os.Geteuid() == 0 {
		if err := safefile.GuardedProgram(path); err != nil {
			return "", fmt.Errorf("lifecycle: program %s: root does not execute a program found in PATH that other users can replace: %w; "+
				"if you trust it, pass its path", p.program[0], err)
		}
	}
	return path, nil
}

// isFinal reports whether the supervisor never restarts a worker that exits with that code.
func (p *RestartPolicy) isFinal(code int) bool {
	return code == 0 && !p.Always || slices.Contains(p.Permanent, code)
}

// workerMarks contains the data with which this process identifies the processes of workers.
type workerMarks struct {
	previous supervise.Alive // the workers of a killed supervisor
	// known is [supervise.Supervisor.Known]; nil: this process is no supervisor.
	known func(mark string) (now supervise.Marked, last bool)
}
