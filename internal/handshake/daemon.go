package handshake

import (
	"encoding/json"
	"errors"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"example.com/lifecycle/internal/sys/detach"
	"example.com/lifecycle/internal/sys/keeper"
	"example.com/lifecycle/internal/sys/safefile"
)

// Launcher is the daemon's view of the launcher that started it.
type Launcher struct {
	PIDFile string         // the PID file that the launcher locked; "": none
	Lock    *os.File       // lock of that PID file; nil: the launcher did not hand it over
	Keeper  keeper.Manager // the service manager that started the launcher; zero: none

	noLog    bool
	limits   Limits
	peer     *detach.Peer
	messages <-chan json.RawMessage // closed when the launcher is gone
	ack      chan struct{}          // closed when the launcher has confirmed the message "ready"
	gone     chan struct{}          // closed when the launcher is gone

	mu       sync.Mutex
	finished bool // the launcher knows how the start ended
	lost     bool // the launcher is gone
}

// Inherited returns the launcher of this process to its first caller. It returns nil to later
// callers, and if no launcher started this process.
func Inherited() *Launcher {
	given := detach.Inherited()
	if given == nil {
		return nil
	}
	messages, first := given.Take()
	if !first {
		return nil
	}
	h, lock, _ := readHandoff(given)
	l := newLauncher(given.Launcher, messages)
	l.PIDFile, l.Lock, l.Keeper, l.noLog = string(h.PIDFile), lock, h.Keeper, h.NoLog
	if l.noLog {
		_ = l.peer.RedirectCrashOutput()
	}
	return l
}

// KeepsLock reports whether this process has inherited the lock of the PID file at path from its
// launcher and still has it.
func KeepsLock(path string) bool {
	given := detach.Inherited()
	if given == nil {
		return false
	}
	_, lock, _ := readHandoff(given)
	if lock == nil {
		return false
	}
	same, err := safefile.Same(lock, path)
	return err == nil && same
}

func newLauncher(peer *detach.Peer, messages <-chan json.RawMessage) *Launcher {
	return &Launcher{peer: peer, messages: messages, ack: make(chan struct{}), gone: make(chan struct{})}
}

// Attach notifies the launcher that Run has begun, and passes it the limits of the daemon. If the
// launcher ends before it knows the result of the start, Attach calls lost once.
func (l *Launcher) Attach(limits Limits, lost func()) error {
	l.limits = limits
	ack := sync.OnceFunc(func() { close(l.ack) })
	go func() {
		for text := range l.messages {
			var m message
			if json.Unmarshal(text, &m) == nil && m.Go {
				ack()
			}
		}
		close(l.gone)
		if l.lose() {
			lost()
		}
	}()
	return l.peer.Send(message{Living: true, Limits: &limits})
}

// ErrSilent is the error of ConfirmReady if the launcher neither answers nor ends, for example
// because it is suspended.
var ErrSilent = errors.New("the launcher does not answer")

// ConfirmReady notifies the launcher that the daemon is ready. It blocks until the launcher
// confirms, the launcher is gone, stop is closed, or the time limit of the start has passed. It
// reports whether the launcher has confirmed.
func (l *Launcher) ConfirmReady(stop <-chan struct{}) (confirmed bool, err error) {
	_ = l.peer.Send(message{Ready: true})
	limit := time.NewTimer(l.limits.Start)
	defer limit.Stop()
	select {
	case <-l.ack:
		return true, nil
	case <-limit.C:
		return false, ErrSilent
	case <-l.gone:
	case <-stop:
	}
	return false, nil
}

// Finish notifies the launcher that the start has succeeded.
func (l *Launcher) Finish() { l.end(message{Done: true}) }

// Fail notifies the launcher why the start failed, if the launcher still waits.
func (l *Launcher) Fail(why any) {
	text, err := json.Marshal(why)
	if err != nil {
		text = []byte("{}")
	}
	l.end(message{Failed: text})
}

// lose records that the launcher is gone and reports whether the daemon must undo the start.
func (l *Launcher) lose() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
	return !l.finished
}

// end sends the last message. Only the first call sends one.
func (l *Launcher) end(last message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.finished || l.lost && last.Done {
		return
	}
	l.finished = true
	if l.noLog {
		_ = debug.SetCrashOutput(nil, debug.CrashOptions{})
	}
	_ = l.peer.Send(last)
	l.peer.Close()
}
