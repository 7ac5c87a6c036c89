package lifecycle

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"example.com/lifecycle/internal/detach"
	"example.com/lifecycle/internal/terminal"
	"example.com/lifecycle/internal/worker"
)

// kind is which process of a daemon this is.
type kind int

const (
	modeEmbedded   kind = iota // a part of a process that is not the daemon's own
	modeForeground             // the daemon, where it was started
	modeLauncher               // starts the daemon in the background
	modeDetached               // the daemon, in the background
	modeSupervisor             // keeps a worker alive, in the foreground or in the background
	modeWorker                 // of a supervisor of this library
)

// mode says what this process is for a life. It is decided once, before the life begins.
type mode struct {
	kind       kind
	background bool // the process, or its supervisor, was detached: it has logs of its own
	first      bool // a worker whose failure is that of the start
}

// modeOf decides the mode.
func modeOf(p *plan) (mode, error) {
	note := supervisorNote()
	m := mode{background: InDaemon()}
	switch {
	case p.embedded:
		return mode{kind: modeEmbedded}, nil
	case note != nil && p.policy != nil && p.pidFile == note.PIDFile:
		m.kind, m.first = modeWorker, note.First
	case note != nil && p.policy != nil: // it would become a supervisor of its own
		return m, fmt.Errorf("lifecycle: the parent of this process has the PID file %q, but this process is to have %q: both must be told the same",
			note.PIDFile, p.pidFile)
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

// supervises reports whether this process is to supervise a worker instead of living the life itself.
func (p *plan) supervises() bool {
	return p.policy != nil && (p.program != nil || p.policy.Foreground || InDaemon() || os.Getpid() == 1)
}

// isProcess reports whether the life is that of its process.
func (m mode) isProcess() bool { return m.kind != modeEmbedded }

// locks reports whether the process holds the PID file: that of a worker is its supervisor's.
func (m mode) locks() bool { return m.isProcess() && m.kind != modeWorker }

// mayHaveLauncher reports whether a launcher may wait for this process.
func (m mode) mayHaveLauncher() bool { return m.locks() && m.kind != modeLauncher }

// InDaemon reports whether this process is a detached one, or the worker of one that supervises it. It is false in the launcher and in any other.
func InDaemon() bool {
	note := supervisorNote()
	return detach.Inherited() != nil || note != nil && note.Detached
}

// workerNote is what a worker of this program is told.
type workerNote struct {
	PIDFile  string `json:"pid_file"` // of the supervisor
	Detached bool   `json:"detached"`
	First    bool   `json:"first"` // its failure is that of the start
}

// supervisorNote is what this process was told if it is a worker, else nil.
var supervisorNote = sync.OnceValue(func() *workerNote {
	in := worker.Inherited()
	if in == nil {
		return nil
	}
	note := new(workerNote)
	_ = json.Unmarshal(in.Note, note) // it is of the same program
	return note
})

// env is what a life needs of the process that it lives in.
type env interface {
	// notify relays that signal until stop is called.
	notify(c chan<- os.Signal, sig os.Signal) (stop func())
	// terminal remembers the controlling terminal; hungUp says whether it has hung up since.
	terminal() (hungUp func() bool)
	exit(code int)
}

type osEnv struct{}

func (osEnv) notify(c chan<- os.Signal, sig os.Signal) (stop func()) {
	signal.Notify(c, sig)
	return func() { signal.Stop(c) }
}

// underNohup is package state because only the start of the process can tell: the first signal.Notify ends it for good.
var underNohup = signal.Ignored(syscall.SIGHUP)

// sigintIgnored is what a shell without job control tells what it starts with &: that Ctrl-C is not meant for it.
var sigintIgnored = signal.Ignored(syscall.SIGINT)

// terminal watches none under nohup(1), which is there to outlive one.
func (osEnv) terminal() (hungUp func() bool) {
	if underNohup {
		return func() bool { return false }
	}
	return terminal.Controlling().HungUp
}

func (osEnv) exit(code int) { os.Exit(code) }
