// Package worker starts the process that a supervisor supervises. There are two kinds of process. A
// worker of this binary runs the executable file of the supervisor, and this package provides the
// data that the supervisor has passed to it. A supervised program (option Program) is any other
// executable file.
//
//	supervisor ── fork, exec of this binary ──► a worker of this binary
//	     ▲                                               │
//	     └───────────── the control socket ◄─────────────┘
//
// A supervised program begins as a stage. The stage runs this binary, prepares its process and then
// executes the program, which keeps the PID. The stage and the start of a worker of this binary run
// in the init function of this package. Packages that are initialised before this one are therefore
// initialised in both.
package worker

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/privilege"
)

// Spec describes the process to start. The process inherits descriptors 0, 1 and 2 and the
// environment of this process, except the variables of a service manager. It gets default signals
// and a process group of its own, so Ctrl-C at a terminal reaches it only through this process.
type Spec struct {
	Args []string // with the name of the program first

	// Program is the path of a supervised program, or a name to look up in the PATH inside its root
	// directory. "" means this binary.
	Program string

	Note     any           // passed to a worker of this binary as JSON
	Notify   string        // NOTIFY_SOCKET (sd_notify(3)); "": none
	Store    int           // FDSTORE (systemd.exec(5)): number of sockets that are kept; 0: none
	Watchdog time.Duration // WATCHDOG_USEC (sd_watchdog_enabled(3)); 0: none

	// Sockets are passed as LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)), from descriptor 3
	// on. They stay open in this process.
	Sockets []activation.Socket

	Dir    string       // working directory; "": unchanged, or Become.Root
	Become *Credentials // of a supervised program; nil: unchanged
	Umask  int          // file mode creation mask of a supervised program; -1: unchanged

	// Cgroup is the directory of the control group in which the process starts, if the kernel
	// permits it. nil means the group of this process.
	Cgroup *os.File

	// Forked is called with the PID before the process gets its orders. Until then, the process
	// neither executes a supervised program nor continues as a worker of this binary. nil: it is not
	// called.
	Forked func(pid int) `json:"-"`

	// NoTerminal gives the process a session of its own and no terminal, except that stdout and
	// stderr can still be written. A process that changes its user needs it: that process must not
	// control the terminal of the user who started the supervisor.
	NoTerminal bool
}

// Credentials describes the user and the root directory of a supervised program.
type Credentials struct {
	Identity *privilege.Identity // nil: unchanged
	Root     string              // root directory, which contains Dir and Program; "": unchanged
	Env      []string            // replaces variables of the environment: HOME=…, USER=…, LOGNAME=…
	Unset    []string            // names of variables to remove
}

// Start starts the process. If it returns an error, there is no process. A worker of this binary
// reads the Note in the init function of this package. A stage executes a supervised program; see
// [Process.Executed].
//
// A supervised program is killed when this process ends, unless its file has more rights than its
// user (PR_SET_PDEATHSIG(2const)). A worker of this binary must detect the end of this process
// itself; see [Handoff.Take].
func Start(o Spec) (*Process, error) { return start(o) }

// Process is a started process.
type Process struct {
	PID int

	running
}

// Executed blocks until the stage has executed the supervised program. It returns an error if that
// failed. For a worker of this binary it returns nil at once. If ctx ends first, it returns the
// cause of ctx. After any error, the process was killed, and the caller must still call Wait.
// Executed must be called only once.
//
// Executed needs ctx because the stage may never report: any process of the user that the stage
// becomes can suspend it before it executes the program.
func (p *Process) Executed(ctx context.Context) error { return p.executed(ctx) }

// Signal sends a signal to the process, and never to another process with its PID. After Wait has
// returned, it returns os.ErrProcessDone.
func (p *Process) Signal(sig os.Signal) error { return p.signal(sig) }

// Wait blocks until the process has ended and the crash output of a worker of this binary was read.
// It must be called once; until then the process keeps its PID. If another process still traces the
// ended process, only the tracer can wait for it, and Wait returns an error and no state.
func (p *Process) Wait() (*os.ProcessState, error) { return p.wait() }

// Output returns the crash output of a worker of this binary that called RedirectCrashOutput. It is
// complete once Wait has returned. For a supervised program it returns "".
func (p *Process) Output() string { return p.words() }

// Final notifies a worker of this binary that no other worker will follow it. Call it before asking
// the worker to end. It never blocks.
func (p *Process) Final() { p.final() }

// Close closes our end of the control socket. The worker then treats this process as gone.
func (p *Process) Close() { p.close() }

// Handoff contains what the supervisor passed to a worker of this binary.
type Handoff struct {
	Note json.RawMessage

	line
}

// inherited is package state because it is set once per process, before main.
var inherited *Handoff

// Inherited returns the handoff of this process, or nil if it is not a worker of this binary.
func Inherited() *Handoff { return inherited }

// Take returns a channel that is closed when the supervisor is gone. If the supervisor ends before
// Take is called, the worker exits at once, because no other process would end it.
func (i *Handoff) Take() (lost <-chan struct{}) { return i.take() }

// IsFinal reports whether the supervisor has called Final or is gone, so that no other worker
// follows this one. It waits for that at most the given time.
func (i *Handoff) IsFinal(within time.Duration) bool { return i.isFinal(within) }

// RedirectCrashOutput makes the Go runtime also send the report of a panic or fatal error to the
// supervisor, until debug.SetCrashOutput is called again. [Process.Output] returns the report.
func (i *Handoff) RedirectCrashOutput() error { return i.takeCrashes() }
