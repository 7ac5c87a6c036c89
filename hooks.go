package lifecycle

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"example.com/lifecycle/internal/sys/ossignal"
)

// Hooks is a component: a set of hooks for one part of a program. Every field is optional. Hooks
// never run concurrently. The only exception is a hook that exceeded its time: the life abandons
// it, and the next hook may then run beside it.
//
// The life stops the components in reverse order, one at a time: it ends the context of the
// component, calls OnStop, and waits until Run has returned. Then it stops the component before it.
// A component may therefore use all earlier components until its own Run has returned. In the
// order, a component must come after each component to which it passes work.
//
// OnStop asks a component to stop, and OnExit frees its resources. OnStop runs while bodies may
// still work. OnExit runs after every body has returned, so it can close what a body uses. Both run
// exactly once for each started component, unless a second stop signal ends the process at once.
type Hooks struct {
	// Name names the component in logs and errors. By default, it is "component" and its number.
	Name string

	// OnCheck reports whether the new configuration is valid. It must not change anything. It runs
	// before every reload and every restart, and for the verb check. In a verb, no component is
	// started. ReloadTimeout limits OnCheck and OnReload together.
	OnCheck func(ctx context.Context) error

	// OnStart acquires what the component needs. If it returns an error, the start fails: the life
	// stops the components that have started, and Run returns the error. While OnStart runs, its
	// context ends when StartTimeout expires or a stop is requested. After OnStart has returned, its
	// context ends when the life stops this component.
	OnStart func(ctx context.Context) error

	// Run is a body, like fn. It is called when all components have started. Its context ends when the
	// life stops this component, just before OnStop is called. The life stops the earlier components
	// after Run has returned. When Run returns without a stop request, the life stops.
	Run func(ctx context.Context) error

	// OnReload applies the new configuration. If it returns an error, the component keeps the old
	// configuration and the reload fails with that error. Earlier components keep the new
	// configuration. Its context ends when ReloadTimeout expires or a stop is requested.
	OnReload func(ctx context.Context) error

	// OnStop asks the component to stop soon. It may wait until the component has stopped. When OnStop
	// is called, all later components have already stopped. The context of OnStop ends when
	// StopTimeout expires.
	OnStop func(ctx context.Context) error

	// OnExit frees what OnStart acquired. Its context ends when StopTimeout expires.
	OnExit func(ctx context.Context) error
}

// withoutCheck returns the names of the hooks that are given, other than OnCheck.
func (h Hooks) withoutCheck() (names []string) {
	for name, f := range map[string]func(context.Context) error{
		"OnStart": h.OnStart, "Run": h.Run, "OnReload": h.OnReload, "OnStop": h.OnStop, "OnExit": h.OnExit,
	} {
		if f != nil {
			names = append(names, name)
		}
	}
	return names
}

func hasMoreThanCheck(h Hooks) bool { return len(h.withoutCheck()) > 0 }

// With adds a component. Each call adds another one. Components start in the order of the calls and
// stop in reverse order. A component without a hook is an error. Two components with the same name
// are an error. By default, there is no component.
func With(h Hooks) Option {
	return option(func(c *plan) { c.hooks = append(c.hooks, h) })
}

// OnStart sets the OnStart of the component that has the name of the program. The options OnReload,
// OnStop, OnExit and OnCheck set the other hooks of that component. The first of these five options
// sets the position of the component among the components. It is an error to give one of them
// twice. A program with several components uses [With]. See [Hooks] for each hook. By default,
// there is no such component.
func OnStart(f func(ctx context.Context) error) Option {
	return looseHook("OnStart", f, func(h *Hooks) *func(context.Context) error { return &h.OnStart })
}

// OnReload sets the OnReload of the component that has the name of the program; see [OnStart] and
// [Hooks]. By default, there is none.
func OnReload(f func(ctx context.Context) error) Option {
	return looseHook("OnReload", f, func(h *Hooks) *func(context.Context) error { return &h.OnReload })
}

// OnStop sets the OnStop of the component that has the name of the program; see [OnStart] and
// [Hooks]. By default, there is none.
func OnStop(f func(ctx context.Context) error) Option {
	return looseHook("OnStop", f, func(h *Hooks) *func(context.Context) error { return &h.OnStop })
}

// OnExit sets the OnExit of the component that has the name of the program; see [OnStart] and
// [Hooks]. By default, there is none.
func OnExit(f func(ctx context.Context) error) Option {
	return looseHook("OnExit", f, func(h *Hooks) *func(context.Context) error { return &h.OnExit })
}

// OnCheck sets the OnCheck of the component that has the name of the program; see [OnStart] and
// [Hooks]. By default, there is none.
func OnCheck(f func(ctx context.Context) error) Option {
	return looseHook("OnCheck", f, func(h *Hooks) *func(context.Context) error { return &h.OnCheck })
}

// OnSignal sets a function for a signal. A nil f ignores the signal. f runs only while the life is
// Ready and never concurrently with a hook. Signals that arrive before f can run cause one call.
// The context of f ends when ReloadTimeout expires or a stop is requested. The life logs an error
// or panic of f. sig must not be TERM, INT, HUP or USR1, because the life handles these, nor
// USR2 with [Supervise], because it upgrades the daemon. It must
// not be KILL or STOP, because no program can handle these. A later OnSignal for the same signal
// replaces the earlier one. By default, every other signal has its usual effect in a Go program;
// see package os/signal.
func OnSignal(sig os.Signal, f func(ctx context.Context) error) Option {
	return option(func(c *plan) {
		switch sig {
		case nil, syscall.SIGKILL, ossignal.Stop:
			c.refuse("OnSignal(%v): cannot be caught", sig)
			return
		case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, ossignal.User1:
			c.refuse("OnSignal(%v): lifecycle handles this signal itself (TERM and INT stop, HUP reloads, USR1 reopens the log)", sig)
			return
		}
		c.signals = slices.DeleteFunc(c.signals, func(h signalHook) bool { return h.signal == sig })
		c.signals = append(c.signals, signalHook{sig, f})
	})
}

func looseHook(name string, f func(context.Context) error, field func(*Hooks) *func(context.Context) error) Option {
	return option(func(c *plan) {
		if f == nil {
			c.refuse("%s(nil): leave it out instead", name)
			return
		}
		if c.loose < 0 {
			c.loose = len(c.hooks)
			c.hooks = append(c.hooks, Hooks{})
		}
		at := field(&c.hooks[c.loose])
		if *at != nil {
			c.refuse("%s is given twice: use With(Hooks{Name: …}) for each component", name)
			return
		}
		*at = f
	})
}

// completeHooks names the components. It refuses a component without a hook, and two components
// with the same name.
func (p *plan) completeHooks() {
	for i := range p.hooks {
		h := &p.hooks[i]
		if i != p.loose && h.OnCheck == nil && !hasMoreThanCheck(*h) {
			p.refuse("With(Hooks{Name: %q}): has no hook; leave it out, or give it one", h.Name)
		}
		switch {
		case i == p.loose:
			h.Name = p.name
		case h.Name == "":
			h.Name = fmt.Sprintf("component %d", i+1)
		}
		for j := range i {
			if p.hooks[j].Name != h.Name {
				continue
			}
			if i == p.loose || j == p.loose {
				p.refuse("With(Hooks{Name: %q}) and the options OnStart, OnReload, OnStop, OnExit or OnCheck: they form a component of that name too; "+
					"put all hooks into one With, or give it another name", h.Name)
			} else {
				p.refuse("With(Hooks{Name: %q}) is given twice: give each component a name of its own", h.Name)
			}
			break
		}
	}
}

// HookError names the hook that failed and its component. It wraps the error that the hook
// returned, or a [*PanicError]. If the hook exceeded its time, HookError wraps [ErrStartTimeout],
// [ErrStopTimeout] or [ErrReload].
type HookError struct {
	Component string
	Hook      string // OnStart, OnCheck, OnReload, OnStop, OnExit, ReadyWhen, or Run for a body
	Err       error
}

func (e *HookError) Error() string {
	return fmt.Sprintf("lifecycle: %s of %s: %v", e.Hook, e.Component, e.Err)
}

func (e *HookError) Unwrap() error { return e.Err }

// trimPrefix returns the text of err without the name of this package.
func trimPrefix(err error) string { return strings.TrimPrefix(err.Error(), "lifecycle: ") }
