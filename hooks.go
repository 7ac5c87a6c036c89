package lifecycle

import (
	"context"
	"fmt"
	"strings"
)

// Hooks is a component: what is to be done for one part of a program in the course of its life. Every field may be left out.
// Hooks are called one after the other and never beside each other, unless one was abandoned because it overran its time.
//
// OnStop asks, OnExit frees: OnStop runs while the bodies may still be at work, OnExit after each of them has returned. So
// what a body uses is closed in OnExit. The two run exactly once for each component that was started, whatever asked for the stop.
type Hooks struct {
	// Name names the component in logs and errors. By default, "component" and its number.
	Name string

	// OnCheck says whether the new configuration is good, and changes nothing. It runs before every reload and
	// in the verb check, where nothing has been started. It shares ReloadTimeout with OnReload.
	OnCheck func(ctx context.Context) error

	// OnStart acquires what the component needs. An error refuses the start: the components that have been started get
	// OnStop and OnExit, and Run returns the error. Its context is one of the life: it ends while OnStart runs when StartTimeout
	// is over or a stop is asked for, but lives on when OnStart has returned, until the bodies are to return.
	OnStart func(ctx context.Context) error

	// Run is a body beside fn: it is called when all components have been started, its context ends when it is to
	// return, and its return ends the life.
	Run func(ctx context.Context) error

	// OnReload takes over the new configuration. An error keeps the old one and is reported; what components before
	// this one have taken over stays. Its context ends after ReloadTimeout, and when a stop is asked for.
	OnReload func(ctx context.Context) error

	// OnStop asks the component to stop soon, and may wait for it. Its context ends when StopTimeout is over.
	OnStop func(ctx context.Context) error

	// OnExit frees what OnStart acquired. Its context ends when StopTimeout is over.
	OnExit func(ctx context.Context) error
}

// With adds a component. It may be given any number of times; components start in the order given and stop in
// reverse. By default, there is none.
func With(h Hooks) Option {
	return option(func(c *plan) { c.hooks = append(c.hooks, h) })
}

// OnStart sets the OnStart of a component that is named after the program. Together with OnReload, OnStop, OnExit and OnCheck on their
// own it forms that one component, in the place of the first of them. Giving one of them twice is an error: a program with several
// components names them, by With. See [Hooks] for what each does. By default, there is no such component.
func OnStart(f func(ctx context.Context) error) Option {
	return looseHook("OnStart", f, func(h *Hooks) *func(context.Context) error { return &h.OnStart })
}

// OnReload sets the OnReload of the component named after the program; see [OnStart] and [Hooks]. By default, there is none.
func OnReload(f func(ctx context.Context) error) Option {
	return looseHook("OnReload", f, func(h *Hooks) *func(context.Context) error { return &h.OnReload })
}

// OnStop sets the OnStop of the component named after the program; see [OnStart] and [Hooks]. By default, there is none.
func OnStop(f func(ctx context.Context) error) Option {
	return looseHook("OnStop", f, func(h *Hooks) *func(context.Context) error { return &h.OnStop })
}

// OnExit sets the OnExit of the component named after the program; see [OnStart] and [Hooks]. By default, there is none.
func OnExit(f func(ctx context.Context) error) Option {
	return looseHook("OnExit", f, func(h *Hooks) *func(context.Context) error { return &h.OnExit })
}

// OnCheck sets the OnCheck of the component named after the program; see [OnStart] and [Hooks]. By default, there is none.
func OnCheck(f func(ctx context.Context) error) Option {
	return looseHook("OnCheck", f, func(h *Hooks) *func(context.Context) error { return &h.OnCheck })
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

// HookError says which hook of which component failed. It wraps what the hook returned, a [*PanicError], or, where the
// hook overran its time, [ErrStartTimeout], [ErrStopTimeout] or [ErrReload].
type HookError struct {
	Component string
	Hook      string // OnStart, OnCheck, OnReload, OnStop, OnExit, Run for a body, ReadyWhen
	Err       error
}

func (e *HookError) Error() string {
	return fmt.Sprintf("lifecycle: %s of %s: %v", e.Hook, e.Component, e.Err)
}

func (e *HookError) Unwrap() error { return e.Err }

// trimPrefix is an error for people: what it says without our name.
func trimPrefix(err error) string { return strings.TrimPrefix(err.Error(), "lifecycle: ") }
