package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"example.com/lifecycle/internal/handoff"
	"example.com/lifecycle/internal/sys/detach"
	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/origin"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/startup"
	"example.com/lifecycle/internal/sys/terminal"
	"example.com/lifecycle/internal/sys/worker"
)

// kind is the role of this process in a daemon.
type kind int

const (
	modeEmbedded   kind = iota // a part of a process that is not a daemon
	modeForeground             // the daemon, in the foreground
	modeLauncher               // starts the daemon in the background
	modeDetached               // the daemon, in the background
	modeSupervisor             // restarts a worker, in the foreground or in the background
	modeWorker                 // the worker of a supervisor of this package
	modeProbe                  // the next program of a supervisor with Program, see answerGuard
)

// mode describes the role of this process in a life. modeOf decides it once, before the life
// begins.
type mode struct {
	kind       kind
	background bool // this process or its supervisor is detached and has its own logs
	first      bool // a worker whose failure fails the start
}

// modeOf returns the mode of this process.
func modeOf(p *plan) (mode, error) {
	note := supervisorNote()
	m := mode{background: InDaemon()}
	switch {
	case p.embedded:
		return mode{kind: modeEmbedded}, nil
	case note != nil && p.policy != nil && note.Probe != (p.program != nil):
		return m, errOtherWorker
	case note != nil && p.policy != nil && safefile.SameEntry(p.pidFile, string(note.PIDFile)):
		m.kind, m.first = modeWorker, note.First
		if note.Probe {
			m.kind = modeProbe
		}
	case note != nil && p.policy != nil && p.noPIDFile != nil:
		return m, p.noPIDFile
	case note != nil && p.policy == nil && safefile.SameEntry(p.pidFile, string(note.PIDFile)):
		return m, errNoSupervise
	// Without this error, a worker with another PID file would itself become a supervisor.
	case note != nil && p.policy != nil:
		return m, fmt.Errorf("lifecycle: the supervisor uses the PID file %q, but its worker uses %q: pass both the same PID file",
			note.PIDFile, p.pidFile)
	case p.policy == nil && isNextProgram():
		return m, errNoSupervise
	case p.detach && !m.background:
		m.kind = modeLauncher
	case p.supervises():
		m.kind = modeSupervisor
	case m.background:
		m.kind = modeDetached
	default:
		m.kind = modeForeground
	}
	return m, nil
}

// supervises reports whether this process supervises a worker instead of running the life itself.
func (p *plan) supervises() bool {
	return p.policy != nil && (p.program != nil || p.policy.Foreground || InDaemon() || os.Getpid() == 1)
}

// errNoSupervise is the error of a program that replaces one with Supervise and does not have that
// option. Without it, the program would start a second daemon beside its supervisor.
var errNoSupervise = errors.New("lifecycle: a supervisor has started this program as its worker, but the program does not use Supervise: " +
	"use the verb restart to change that")

// errOtherWorker is the error of a program that replaces one with Program and does not have that
// option, or the reverse.
var errOtherWorker = errors.New("lifecycle: the option Program was added or removed: use the verb restart to change that")

// isNextProgram reports whether this process is a supervisor whose program was replaced.
func isNextProgram() bool {
	h, err := handoff.Inherited()
	return h != nil || err != nil
}

// isProcess reports whether the life owns the process, because it is not embedded.
func (m mode) isProcess() bool { return m.kind != modeEmbedded }

// locks reports whether this process locks the PID file. For a worker, the supervisor holds the
// lock.
func (m mode) locks() bool {
	return m.isProcess() && m.kind != modeWorker && m.kind != modeProbe
}

// mayHaveLauncher reports whether a launcher may wait for this process.
func (m mode) mayHaveLauncher() bool { return m.locks() && m.kind != modeLauncher }

// role returns the name of this process in a log that it shares with another process, or "".
func (m mode) role() string {
	switch m.kind {
	case modeSupervisor:
		return "supervisor"
	case modeWorker:
		return "worker"
	}
	return ""
}

// InDaemon reports whether this process is detached, or is the worker of a detached supervisor. It
// returns false in the launcher and in every other process.
func InDaemon() bool {
	if note := supervisorNote(); note != nil {
		return note.Detached
	}
	h, _ := handoff.Inherited()
	return detach.Inherited() != nil || h != nil && h.Background
}

// workerNote contains the data that a supervisor passes to its worker.
type workerNote struct {
	PIDFile  []byte `json:"pid_file"` // of the supervisor
	Detached bool   `json:"detached"`
	First    bool   `json:"first"`     // a failure of this worker fails the start
	Process1 bool   `json:"process_1"` // the supervisor is process 1
	Probe    bool   `json:"probe"`     // the supervisor has a Program, and asks its next program
}

// supervisorNote returns the note of the supervisor if this process is a worker, else nil.
var supervisorNote = sync.OnceValue(func() *workerNote {
	in := worker.Inherited()
	if in == nil {
		return nil
	}
	note := new(workerNote)
	_ = json.Unmarshal(in.Note, note) // a process of this binary wrote the note
	return note
})

// firstOther is the first descriptor after stdin, stdout and stderr.
const firstOther = 3

// keepFromChildren marks the descriptors of this process as close-on-exec. Programs that the life
// starts then do not inherit descriptors that the caller left open. They stay open in this process,
// because the caller may have passed them on purpose. A detached process has no such descriptors,
// and a worker has already marked them.
func keepFromChildren(m mode, log *slog.Logger) {
	if m.background || m.kind == modeWorker {
		return
	}
	if err := execve.CloseOnExec(firstOther); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		log.Warn("programs that the daemon starts inherit descriptors of its caller", "err", err)
	}
}

// env is the part of the process that a life uses.
type env interface {
	// notify relays sig to c until stop is called.
	notify(c chan<- os.Signal, sig os.Signal) (stop func())
	// terminal records the controlling terminal. hungUp reports whether that terminal has hung up.
	terminal() (hungUp func() bool)
	exit(code int)
}

type osEnv struct{}

func (osEnv) notify(c chan<- os.Signal, sig os.Signal) (stop func()) {
	signal.Notify(c, sig)
	return func() { signal.Stop(c) }
}

// underNohup reports whether SIGHUP was ignored at the start. It is package state because
// signal.Ignored no longer reports that after the first signal.Notify.
var underNohup = signal.Ignored(syscall.SIGHUP) || carried(func(h *handoff.Handoff) bool { return h.UnderNohup })

// sigintIgnored reports whether SIGINT was ignored at the start. A shell without job control
// ignores SIGINT for a command in the background (&).
var sigintIgnored = signal.Ignored(syscall.SIGINT) || carried(func(h *handoff.Handoff) bool { return h.SigintIgnored })

// carried returns what an earlier program of this process has passed on, or false.
func carried(fact func(*handoff.Handoff) bool) bool {
	h, _ := handoff.Inherited()
	return h != nil && fact(h)
}

// terminal watches no terminal under nohup(1), because there the program must outlive its terminal.
func (osEnv) terminal() (hungUp func() bool) {
	if underNohup {
		return func() bool { return false }
	}
	return terminal.Controlling().HungUp
}

func (osEnv) exit(code int) { os.Exit(code) }

// WorkDir sets the working directory. Run changes to it before the first hook. Until then, main
// runs in the working directory of the start. A relative path is relative to the directory of the
// start, even after os.Chdir. By default, a detached process changes to "/", and any other process
// does not change its directory.
func WorkDir(path string) Option {
	return option(func(c *plan) {
		c.workDir = path
		c.processOnly("WorkDir", true)
	})
}

// Umask sets the file mode creation mask; see umask(2). A mask of 0 is valid. By default, a
// detached process has 0o022, and any other process keeps its mask.
func Umask(mask int) Option {
	return option(func(c *plan) {
		if mask < 0 || mask > 0o777 {
			c.refuse("Umask(%#o): must be from 0 to 0o777", mask)
		}
		c.umask = mask
		c.processOnly("Umask", true)
	})
}

func (p *plan) completeWorkDir() {
	if p.workDir == "" {
		return
	}
	abs, err := startup.Abs(p.workDir)
	if err != nil {
		p.refuse("WorkDir(%q): %v", p.workDir, err)
	}
	p.workDir = abs
}

func (p *plan) completeChroot() {
	if p.chroot == "" {
		return
	}
	abs, err := startup.Abs(p.chroot)
	if err != nil {
		p.refuse("Chroot(%q): %v", p.chroot, err)
	}
	p.chroot = abs
}

// applyWorkDir sets the umask and the working directory of the process.
func (p *plan) applyWorkDir(background bool) error {
	dir, umask := p.workDir, p.umask
	if background {
		if dir == "" {
			dir = "/"
		}
		if umask < 0 {
			umask = 0o022
		}
	}
	if umask >= 0 {
		detach.Umask(umask)
	}
	if dir == "" {
		return nil
	}
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("lifecycle: working directory: %w", err)
	}
	return nil
}

// keepOrigin stores the arguments and the directory of a detached daemon for the verb restart,
// until release is called.
func (p *plan) keepOrigin(m mode) (release func()) {
	if !m.background || !m.locks() || p.pidFile == "" {
		return func() {}
	}
	kept, err := origin.Keep(origin.Origin{PIDFile: p.pidFile, Dir: startup.Dir(), Args: startup.Args()[1:]})
	if err != nil {
		p.logger.Debug("cannot store the arguments of this daemon, so the verb restart uses its own", "err", err)
		return func() {}
	}
	return func() { kept.Close() }
}
