package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/lifecycle/internal/engine"
	"example.com/lifecycle/internal/sys/ossignal"
)

// Life gives hooks and bodies access to the life that runs them. Its methods may be called from any
// goroutine.
type Life struct {
	of  *life
	ctx context.Context // the context passed to From
}

// From returns the life that ctx belongs to. ctx must be the context of a hook or body, or a
// context derived from one. From never returns nil. For any other ctx, the methods of the result do
// nothing and Phase returns Exited.
func From(ctx context.Context) *Life {
	l, _ := ctx.Value(engine.Key{}).(*life)
	return &Life{l, ctx}
}

// Grace returns the context for work in progress. It carries the values of the life. The context
// outlives the contexts of the bodies: it ends when StopTimeout expires or the life ends. Use it as
// the base context of the requests of a server: then a stop request does not cancel the requests in
// progress. Outside a life, Grace returns the context passed to From.
func (l *Life) Grace() context.Context {
	if l.of == nil {
		return l.ctx
	}
	return l.of.graceCtx
}

// Phase returns the phase of the life. It never blocks.
func (l *Life) Phase() Phase {
	if l.of == nil {
		return Exited
	}
	return l.of.snapshot().Phase
}

// Stop requests a stop and does not wait for it. The reason becomes the [context.Cause] of the
// contexts of the bodies. The reason is no failure: Run returns it only if a body returns it. Only
// the first stop request has an effect.
func (l *Life) Stop(reason error) {
	if l.of == nil {
		return
	}
	if reason == nil {
		reason = stopCause("lifecycle: the program asked for the stop")
	}
	l.of.on(stopRequest, reason, nil)
}

// Reload asks the life to reload, as HUP does, and blocks until it has the verdict of a reload that
// began after the call. It returns nil if that reload succeeded. The error wraps [ErrReload] if
// that reload failed, or if the life stops instead. A reload requested during the start begins when
// the life is ready. If ctx ends first, Reload returns an error that wraps the cause of ctx. Inside
// a hook, Reload returns an error at once, because no reload begins before the hook has returned.
func (l *Life) Reload(ctx context.Context) error {
	if l.of == nil {
		return nil
	}
	if hook := l.of.hookThatRuns(l.ctx, ctx); hook != "" {
		return &reloadError{cause: fmt.Errorf("lifecycle: reload: called inside %s, which the reload would wait for", hook)}
	}
	verdict := make(chan error, 1)
	if !l.of.addReloadWaiter(verdict) {
		return stopsInstead()
	}
	l.of.on(hangup, nil, nil)
	select {
	case err := <-verdict:
		return err
	case <-ctx.Done():
		select {
		case err := <-verdict: // select may choose either if both are ready
			return err
		default:
		}
		return fmt.Errorf("lifecycle: waiting for the verdict of a reload: %w", context.Cause(ctx))
	}
}

// SetStatus sets the text that status shows: one short line that tells people what the program
// does. By default, it is empty.
func (l *Life) SetStatus(text string) {
	if l.of == nil {
		return
	}
	if l.of.snapshot().Text != text {
		l.of.update(func(s *Status) { s.Text = text })
	}
}

// stopsInstead returns the error of a reload that did not begin because of a stop.
func stopsInstead() error {
	return &reloadError{cause: errors.New("lifecycle: not reloaded: the daemon is stopping")}
}

// addReloadWaiter registers a channel for the verdict of the next reload. It reports whether a
// reload can still begin.
func (l *life) addReloadWaiter(verdict chan<- error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.status.Phase >= Stopping {
		return false
	}
	l.reloadWaiters = append(l.reloadWaiters, verdict)
	return true
}

// takeReloadWaiters returns the channels that wait for the reload that begins now.
func (l *life) takeReloadWaiters() []chan<- error {
	l.mu.Lock()
	defer l.mu.Unlock()
	awaiting := l.reloadWaiters
	l.reloadWaiters = nil
	return awaiting
}

func tellAll(awaiting []chan<- error, verdict error) {
	for _, c := range awaiting {
		c <- verdict
	}
}

// hookKey is the key of the *runningHook in the context of a hook.
type hookKey struct{}

type runningHook struct {
	life  *life
	label string
	over  atomic.Bool // the hook has returned; its context may live on
}

// hookThatRuns returns the label of the hook to which one of the contexts belongs. It returns "" if
// that hook has returned or belongs to another life.
func (l *life) hookThatRuns(contexts ...context.Context) (label string) {
	for _, ctx := range contexts {
		h, _ := ctx.Value(hookKey{}).(*runningHook)
		if h != nil && h.life == l && !h.over.Load() {
			return h.label
		}
	}
	return ""
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Phase is a stage of a life:
//
//	Starting → Ready ⇄ Reloading → Stopping → Exited
type Phase int

// The phases, in their order. A failed start goes from Starting to Stopping.
const (
	Starting  Phase = iota // the components and the bodies are being started
	Ready                  // all components are started, and ReadyWhen has returned nil
	Reloading              // OnCheck and OnReload run
	Stopping               // a stop was requested, or the start failed
	Exited                 // the life is over
)

var phaseNames = [...]string{"starting", "ready", "reloading", "stopping", "exited"}

// String returns the name of the phase in lower case.
func (p Phase) String() string {
	if p < 0 || int(p) >= len(phaseNames) {
		return "unknown"
	}
	return phaseNames[p]
}

// MarshalText returns the result of String.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText accepts the texts that MarshalText returns. It returns an error for any other text.
func (p *Phase) UnmarshalText(text []byte) error {
	at := slices.Index(phaseNames[:], string(text))
	if at < 0 {
		return fmt.Errorf("lifecycle: unknown phase %q", text)
	}
	*p = Phase(at)
	return nil
}

// Embedded makes the life share its process with other code, for example with a test. The life
// handles no signals and makes no files. Any number of embedded lives may run at once, also in a
// bubble of testing/synctest. Hooks, deadlines, panics and the result of Run are as in any other
// life. The life ignores options that apply to a whole process, and the log names them. A repeated
// stop request does not end the process. Package lifecycletest uses this option. By default, a life
// does not share its process.
func Embedded() Option {
	return option(func(c *plan) { c.embedded = true })
}

// completeEmbedded removes the options that need a process.
func (p *plan) completeEmbedded() {
	p.pidFile = ""
	if p.program != nil {
		p.refuse("Program(%q) and Embedded: an embedded life starts no process; leave out one of the two", p.program[0])
	}
	if len(p.processOptions) > 0 && len(p.wrong) == 0 {
		p.logger.Info("an embedded life ignores options that need a process", "options", strings.Join(p.processOptions, ", "))
	}
}

// The methods below implement [engine.Engine] for package lifecycletest.

func (l *life) Ready() <-chan struct{} { return l.readyCh }

func (l *life) Deliver(sig os.Signal) (known bool) {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, ossignal.User1:
	default:
		at := l.signalHook(sig)
		if at < 0 || l.plan.signals[at].f == nil {
			return at >= 0
		}
	}
	l.onSignal(sig)
	return true
}

func (l *life) Tick(ctx context.Context, name string) (called int, err error) {
	interval, notInterval := time.ParseDuration(name)
	var errs []error
	for _, p := range l.plan.every {
		if name != "" && (notInterval != nil || interval != p.interval) {
			continue
		}
		called++
		result := make(chan error, 1)
		select {
		case p.now <- result:
			errs = append(errs, <-result)
		case <-l.stopCtx.Done():
			return called, fmt.Errorf("lifecycle: the life is stopping: %w", context.Cause(l.stopCtx))
		case <-ctx.Done():
			return called, context.Cause(ctx)
		}
	}
	return called, errors.Join(errs...)
}
