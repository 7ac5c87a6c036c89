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
	"errors"
	"os"
	"time"

	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/ctlsock"
	"example.com/lifecycle/internal/sys/privilege"
)

// Spec describes the process to start. The process inherits descriptors 0, 1 and 2 and the
// environment of this process, except the variables of a service manager. It gets default signals
// and a process group of its own. Ctrl-C at a terminal therefore reaches it only through this
// process.
type Spec struct {
	Args []string // with the name of the program first

	// Program is the path of a supervised program, or a name to look up in the PATH inside its root
	// directory. "" means a worker of this binary.
	Program string

	// Path is the absolute path of another binary that the worker runs, for example another version
	// of this one. It must use this library. "" means this binary as it runs, even if its file was
	// deleted or replaced.
	Path string

	Note     any           // passed to a worker of this binary as JSON
	Notify   string        // NOTIFY_SOCKET (sd_notify(3)); "": none
	Store    int           // FDSTORE (systemd.exec(5)): number of sockets that are kept; 0: none
	Watchdog time.Duration // WATCHDOG_USEC (sd_watchdog_enabled(3)); 0: none

	// Invocation is passed on as [InvocationVariable], to the process and to those that it starts.
	// "" means that it is not.
	Invocation string

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

	// NoTerminal gives the process a session of its own and no terminal, except that it can still
	// write to stdout and stderr. Set it for a process that changes its user. Such a process must not
	// control the terminal of the user who started the supervisor.
	NoTerminal bool
}

// InvocationVariable is the variable that identifies a worker and the processes that it has
// started, as INVOCATION_ID does for a service of systemd. Each worker has a value of its own.
const InvocationVariable = "LIFECYCLE_INVOCATION_ID"

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
// It must be called once. Until then the process keeps its PID. If another process still traces the
// ended process, only the tracer can wait for it. Wait then returns an error and no state.
func (p *Process) Wait() (*os.ProcessState, error) { return p.wait() }

// Output returns the crash output of a worker of this binary that called RedirectCrashOutput. It is
// complete once Wait has returned. For a supervised program it returns "".
func (p *Process) Output() string { return p.words() }

// Hello returns a channel with the first message of the worker; see [Handoff.Hello]. The channel is
// closed without a message if the worker is gone, or if the process is a supervised program.
func (p *Process) Hello() <-chan Hello { return p.hello() }

// Replace notifies a worker of this binary that another worker replaces it. The worker then
// finishes its work and ends. Replace blocks for a second at most. It returns an error if the
// worker has not begun, if the worker does not read its messages, or after Final.
func (p *Process) Replace() error { return p.replace() }

// NotLast notifies a worker of this binary that another worker follows it, with any exit code. Call
// it before asking the worker to end. It blocks for a second at most. It returns an error in the
// same cases as Replace.
func (p *Process) NotLast() error { return p.notLast() }

// AskAdopt asks a worker of this binary whether its program, as a supervisor, could continue with
// that state. It returns nil or the reason of the worker; see [Handoff.OnAsk]. If ctx ends first,
// it returns the cause of ctx.
func (p *Process) AskAdopt(ctx context.Context, state json.RawMessage) error {
	return p.askAdopt(ctx, state)
}

// Final notifies a worker of this binary that no other worker will follow it. Call it before asking
// the worker to end. It never blocks.
func (p *Process) Final() { p.final() }

// State is a Process without its open files. A program that is executed in this process (package
// takeover) continues with it.
type State struct {
	PID    int            `json:"pid"`
	Name   []byte         `json:"name"` // bytes, because JSON text must be UTF-8
	Hello  *Hello         `json:"hello,omitempty"`
	Socket *ctlsock.State `json:"socket,omitempty"` // nil: the process is a supervised program
}

// Freeze returns the state and the files of the process. Until Thaw is called, this program does
// not read the control socket of the process and does not reap the process. Freeze blocks for a
// second at most. The error matches os.ErrProcessDone if the process was reaped already. It is
// [ErrNotBegun] if the process has not received its orders, or if its program was not executed.
// After an error, Thaw must not be called.
func (p *Process) Freeze() (State, []*os.File, error) { return p.freeze() }

// Thaw ends a Freeze, if no program was executed.
func (p *Process) Thaw() { p.thaw() }

// ErrNotBegun is returned if a message cannot be sent to the process yet.
var ErrNotBegun = errors.New("the worker has not begun")

// Adopt returns the process that another program of this process has started and frozen. It owns
// the files from then on. [Process.Hello] returns the Hello of the worker again. Executed must not
// be called. After an error, the files are closed.
func Adopt(s State, files []*os.File) (*Process, error) { return adopt(s, files) }

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

// IsFinal reports whether the supervisor has called Final or is gone. In both cases, no other
// worker follows this one. IsFinal waits for at most the given time.
func (i *Handoff) IsFinal(within time.Duration) bool { return i.isFinal(within) }

// IsFollowed reports whether another worker follows this one: the supervisor has called
// [Process.NotLast] or [Process.Replace]. It waits for that at most the given time, and not after
// the supervisor has called Final.
func (i *Handoff) IsFollowed(within time.Duration) bool { return i.isFollowed(within) }

// RedirectCrashOutput makes the Go runtime also send the report of a panic or fatal error to the
// supervisor, until debug.SetCrashOutput is called again. [Process.Output] returns the report.
func (i *Handoff) RedirectCrashOutput() error { return i.takeCrashes() }

// Hello is the first message of a worker of this binary to its supervisor.
type Hello struct {
	Protocol   int    `json:"protocol"` // of the messages and the state; see AskAdopt
	Version    string `json:"version,omitempty"`
	PIDFile    []byte `json:"pid_file,omitempty"` // its path; bytes, because JSON text must be UTF-8
	Supervises bool   `json:"supervises,omitempty"`
	Refuses    string `json:"refuses,omitempty"` // why the program cannot be the supervisor
}

// Hello sends the message to the supervisor. Only the first message counts. It blocks for a second
// at most.
func (i *Handoff) Hello(h Hello) error { return i.sendHello(h) }

// Replaced returns a channel that is closed when the supervisor has called [Process.Replace].
func (i *Handoff) Replaced() <-chan struct{} { return i.isReplaced() }

// OnAsk makes the worker answer [Process.AskAdopt] with the result of f. f decodes the state and
// changes nothing. One call is made at a time. Questions that arrived before OnAsk wait for it.
// OnAsk must be called only once.
func (i *Handoff) OnAsk(f func(state json.RawMessage) error) { i.onAsk(f) }

// OnForkThread calls f in the thread that makes all forks, and returns when f does. If this process
// executes another program, it must do so in this thread. execve(2) ends all other threads, and a
// supervised program is killed with the thread that forked it. On systems other than Linux,
// OnForkThread only calls f.
func OnForkThread(f func()) { onForkThread(f) }
