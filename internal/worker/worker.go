// Package worker starts the process that a supervisor looks after, and tells that process so.
//
//	supervisor ── fork, exec of this program ──► an own worker
//	     ▲                                           │
//	     └─────────── the control socket ◄───────────┘
//
// A foreign program is executed by a stage of this program, without another fork: so it has the PID that was started. The stage lives in the init of this
// package, and so does the beginning of an own worker: what is initialised before this package, is so in both.
package worker

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"example.com/lifecycle/internal/activation"
	"example.com/lifecycle/internal/privilege"
)

// Spec says what is to be started. The process has descriptors 0, 1 and 2 of this one and its environment, but for what a service manager has told
// this one; default signals, and a group of its own: what is typed at a terminal reaches it through this process only.
type Spec struct {
	Args     []string            // with the name of the program first
	Program  string              // the path of a foreign program, or its name in the PATH of its root directory, which is executed with Args; "": this very program again
	Note     any                 // what an own worker is told, as JSON
	Notify   string              // NOTIFY_SOCKET (sd_notify(3)); "": none
	Store    int                 // FDSTORE (systemd.exec(5)): how many sockets are kept; 0: none
	Watchdog time.Duration       // WATCHDOG_USEC (sd_watchdog_enabled(3)); 0: none
	Sockets  []activation.Socket // LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)), from descriptor 3 on; they stay open here
	Dir      string              // working directory; "": that of this process, or the root directory of Become
	Become   *Credentials        // foreign only: who it becomes, and its root directory; nil: as this process
	Umask    int                 // foreign only: the file mode creation mask; -1: that of this process
	Cgroup   *os.File            // directory of the control group that it is in from its start, where the kernel lets it; nil: that of this process

	// NoTerminal gives the process a session of its own, and no terminal but for stdout and stderr, which it can only write then. It is for one that changes
	// its user: it must not type, read or change anything on the terminal of who has started this process.
	NoTerminal bool
}

// Credentials is who a foreign program becomes.
type Credentials struct {
	Identity *privilege.Identity // nil: as this process
	Root     string              // root directory, in which Dir and Program are then; "": that of this process
	Env      []string            // in the place of what the environment has: HOME=…, USER=…, LOGNAME=…
	Unset    []string            // names of variables that it does not get
}

// Start starts the process. What keeps it from being started is an error, and then there is no process. An own worker reads its note whenever it comes to
// that; a foreign program is executed by a stage, see [Process.Executed].
//
// A foreign program is ended by KILL when this process is, unless it has more rights than who executes it (PR_SET_PDEATHSIG(2const)). An own
// worker sees to that itself; see Take.
func Start(o Spec) (*Process, error) { return start(o) }

// Process is what was started.
type Process struct {
	PID int

	running
}

// Executed blocks until a foreign program was executed, and returns why it was not. It is to be called once, and returns nil at once for an own worker. When ctx ends
// before, it returns the cause of that. Whatever error it returns, the process was killed, and Wait is still to be called.
//
// What the process says of its stage cannot be trusted to come: any process of the user that it becomes can stop it before it is executed.
func (p *Process) Executed(ctx context.Context) error { return p.executed(ctx) }

// Signal sends the process a signal, and never another one with its PID. It returns os.ErrProcessDone once Wait has returned.
func (p *Process) Signal(sig os.Signal) error { return p.signal(sig) }

// Wait blocks until the process has ended, and all that an own worker's crash has said was heard. It is to be called once: until then the process has its PID.
// It returns an error, and no state, of one that has ended while another process traces it: nobody else can wait for that one.
func (p *Process) Wait() (*os.ProcessState, error) { return p.wait() }

// Output is what the crash of an own worker has said that calls RedirectCrashOutput, complete once Wait has returned. It is "" for a foreign program.
func (p *Process) Output() string { return p.words() }

// Final tells an own worker that no other worker will follow it, before it is asked to end. It does not
// block, whatever the worker does.
func (p *Process) Final() { p.final() }

// Close closes our end of the control socket, which is as if this process were gone.
func (p *Process) Close() { p.close() }

// Handoff is what an own worker was given.
type Handoff struct {
	Note json.RawMessage

	line
}

// inherited is package state because it is settled before main: what was given to the process, which is one.
var inherited *Handoff

// Inherited returns what this process was given if it is an own worker, else nil.
func Inherited() *Handoff { return inherited }

// Take returns a channel that is closed when the supervisor is gone. Until it was taken, a worker whose supervisor goes ends at once: nobody would ever
// end it.
func (i *Handoff) Take() (lost <-chan struct{}) { return i.take() }

// IsFinal reports whether the supervisor has called Final, or is gone: no other worker follows this one. It
// waits for that for at most the given time.
func (i *Handoff) IsFinal(within time.Duration) bool { return i.isFinal(within) }

// RedirectCrashOutput sends what the Go runtime has to say of a panic or a fatal error to the supervisor too, where it is Words, until
// debug.SetCrashOutput is called again.
func (i *Handoff) RedirectCrashOutput() error { return i.takeCrashes() }
