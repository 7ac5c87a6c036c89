package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"example.com/lifecycle/internal/detach"
)

// The handshake: what a launcher and the detached process tell each other.
//
//	stage 1   pid        the detached process has been started
//	daemon    living     Run has begun: from now on it ends by itself, in the time that it says
//	daemon    ready
//	launcher  go         it has heard
//	daemon    done       it has heard that; only now is the start a success for both
//	daemon    failed     instead of ready, when nothing is left any more
//
// Whoever reads the end of the socket before done knows that the other one is gone: the daemon stops then, whatever ended the launcher.
type notice struct {
	PID    int      `json:"pid,omitempty"`
	Error  string   `json:"error,omitempty"` // of stage 1
	Living bool     `json:"living,omitempty"`
	Limits *limits  `json:"limits,omitempty"` // of a life
	Ready  bool     `json:"ready,omitempty"`
	Go     bool     `json:"go,omitempty"`
	Done   bool     `json:"done,omitempty"`
	Failed *failure `json:"failed,omitempty"`
}

// limits are how long a life takes at most by its own options, which need not be those of the launcher.
type limits struct {
	Start time.Duration `json:"start_ns"`
	Stop  time.Duration `json:"stop_ns"`
}

func (c *config) limits() *limits {
	if c.longest != nil {
		return c.longest
	}
	return &limits{c.startTimeout + grace(c.startTimeout), c.wholeStop()}
}

// handover is what the detached process is told with what it is given: the lock of this PID file, unless there is none, and then the sockets that the launcher was given.
type handover struct {
	PIDFile string `json:"pid_file"`
	NoLog   bool   `json:"no_log"` // what goes to stderr goes nowhere
}

// readHandover is of the same program.
func readHandover(given *detach.Inheritance) (h handover, lock *os.File, sockets []*os.File) {
	_ = json.Unmarshal(given.Note, &h)
	sockets = given.Files
	if h.PIDFile != "" && len(sockets) > 0 {
		lock, sockets = sockets[0], sockets[1:]
	}
	return h, lock, sockets
}

// failure is why a start failed.
type failure struct {
	Verdict
	Code         int    `json:"code"`
	StopTimedOut bool   `json:"stop_timed_out,omitempty"` // it was the time of the stop that was over
	Panicked     bool   `json:"panicked,omitempty"`       // then the text is that of the value
	Stack        string `json:"stack,omitempty"`
}

// maxStack is how much of a stack goes over the socket.
const maxStack = 16 << 10

func newFailure(err, reason error) *failure {
	switch {
	case err != nil:
	case reason == nil || errors.Is(reason, ErrBodyReturned):
		err = errors.New("ended before it was ready")
	default:
		err = fmt.Errorf("stopped before it was ready: %s", plain(reason))
	}
	f := &failure{Code: max(1, ExitCode(err))}
	var several *lifeErrors
	if errors.As(err, &several) {
		err = several.errs[0]
	}
	f.Verdict = *newVerdict(0, 0, err)
	var late *overrun
	f.StopTimedOut = errors.As(err, &late) && late.is == ErrStopTimeout
	f.TimedOut = f.TimedOut || errors.As(err, new(*notReady))
	var p *PanicError
	if errors.As(err, &p) {
		f.Panicked, f.Error = true, fmt.Sprint(p.Value)
		f.Stack = string(p.Stack[:min(len(p.Stack), maxStack)])
	}
	return f
}

// Err is the failure as an error: component, hook, text and exit code are those of the other process.
func (f *failure) Err() error {
	tooLong := ErrStartTimeout
	if f.StopTimedOut {
		tooLong = ErrStopTimeout
	}
	err := f.cause(tooLong)
	if f.Panicked {
		err = &PanicError{Value: f.Error, Stack: []byte(f.Stack)}
	}
	err = f.inHook(err)
	if f.Hook == "" && !f.Panicked {
		err = fmt.Errorf("lifecycle: %w", err)
	}
	if code := max(1, f.Code); code != ExitCode(err) { // whatever it says, it is no success
		err = WithExitCode(err, code)
	}
	return err
}

// launcher is the launcher of this process, as the life sees it.
type launcher struct {
	handover
	peer     *detach.Peer
	messages <-chan json.RawMessage // closed when the launcher is gone
	lock     *os.File               // of the PID file
	goAhead  chan struct{}
	gone     chan struct{}

	mu   sync.Mutex
	over bool // it has been told how it ended
	lost bool // it is gone
}

// takeLauncher returns the launcher of this process, to the first who asks.
func takeLauncher() *launcher {
	given := detach.Inherited()
	if given == nil {
		return nil
	}
	messages, first := given.Take()
	if !first {
		return nil
	}
	l := &launcher{peer: given.Launcher, messages: messages, goAhead: make(chan struct{}), gone: make(chan struct{})}
	l.handover, l.lock, _ = readHandover(given)
	if l.NoLog {
		_ = l.peer.TakeCrashes()
	}
	return l
}

var errLauncherGone = stopCause("lifecycle: the launcher is gone, so nobody waits for this start")

// join tells the launcher that the life has begun, and stops it when the launcher is gone before it knows that it is ready.
func (l *life) join() error {
	if l.launcher == nil {
		return nil
	}
	if l.pidFile != l.launcher.PIDFile {
		return fmt.Errorf("lifecycle: the launcher has locked the PID file %q, but this process is to have %q: both must be told the same",
			l.launcher.PIDFile, l.pidFile)
	}
	goAhead := sync.OnceFunc(func() { close(l.launcher.goAhead) })
	go func() {
		for message := range l.launcher.messages {
			var n notice
			if json.Unmarshal(message, &n) == nil && n.Go {
				goAhead()
			}
		}
		close(l.launcher.gone)
		if l.launcher.lose() {
			l.on(stopRequest, errLauncherGone, nil)
		}
	}()
	return l.launcher.peer.Send(notice{Living: true, Limits: l.limits()})
}

// momentForBodies is what a body that fails at once has to do so before the launcher is told that all is well. It is tempting to do without, for it is a
// tenth of a start: but then, on a busy machine, some starts say ready of a daemon that ends.
const momentForBodies = time.Millisecond

// agree tells the launcher that all is ready, and says whether it has heard. Until then the start is not settled, so the life is not Ready.
func (l *life) agree() bool {
	if l.launcher == nil && !l.ofStart {
		return true
	}
	l.pause(momentForBodies)
	if l.launcher == nil {
		return l.asked.Err() == nil
	}
	_ = l.launcher.peer.Send(notice{Ready: true})
	limit := time.NewTimer(l.limits().Start)
	defer limit.Stop()
	select {
	case <-l.launcher.goAhead:
		return l.asked.Err() == nil
	case <-limit.C: // it was suspended, or is no launcher of ours
		l.on(stopRequest, errLauncherGone, nil)
	case <-l.launcher.gone:
	case <-l.asked.Done():
	}
	return false
}

// settle ends the handshake of a life that is ready.
func (l *life) settle() {
	if l.launcher != nil {
		l.launcher.end(notice{Done: true})
	}
}

// tellEnd tells the launcher, if it still waits, why the start has failed: what Run returns, or why it was stopped.
func (l *launcher) tellEnd(err, reason error) { l.end(notice{Failed: newFailure(err, reason)}) }

// lose notes that the launcher is gone, and says whether that undoes the start.
func (l *launcher) lose() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
	return !l.over
}

// end says the last word, once.
func (l *launcher) end(last notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.lost && last.Done {
		return
	}
	l.over = true
	if l.NoLog {
		_ = debug.SetCrashOutput(nil, debug.CrashOptions{})
	}
	_ = l.peer.Send(last)
	l.peer.Close()
}
