package lifecycle

import (
	"context"
	"fmt"
	"strings"
)

// Hooks is a component: a set of hooks for one part of a program. Every field is optional. Hooks
// never run concurrently, except with a hook that was abandoned because it exceeded its time.
//
// A stop reaches the components in reverse order, one at a time: the context of the component ends,
// OnStop is called, and its Run is awaited. Only then does the stop reach the component before it.
// So a component may use the components before it until its Run has returned. If a component passes
// work to another component, it belongs behind that component.
//
// OnStop asks a component to stop, and OnExit frees what it holds. OnStop runs while bodies may
// still work, OnExit after every body has returned. So close in OnExit what a body uses. Each of
// the two runs exactly once for each started component, whatever caused the stop, unless another
// stop signal ends the process at once.
type Hooks struct {
	// Name names the component in logs and errors. By default, it is "component" and its number.
	Name string

	// OnCheck reports whether the new configuration is valid. It must not change anything. It runs
	// before every reload, and in the verb check, where no component is started. It shares
	// ReloadTimeout with OnReload.
	OnCheck func(ctx context.Context) error

	// OnStart acquires what the component needs. If it returns an error, the start fails: the
	// components started before get OnStop and OnExit, and Run returns the error. While OnStart runs,
	// its context ends when StartTimeout expires or a stop is requested. After OnStart has returned,
	// the context stays valid until the stop reaches this component.
	OnStart func(ctx context.Context) error

	// Run is a body, like fn. It is called when all components are started. Its context ends when the
	// stop reaches this component, just before OnStop is called. The stop reaches the components
	// before this one only after Run has returned. When Run returns, the life ends.
	Run func(ctx context.Context) error

	// OnReload applies the new configuration. If it returns an error, the component keeps the old
	// configuration and the reload fails with that error. Components before this one keep the new
	// configuration. Its context ends when ReloadTimeout expires or a stop is requested.
	OnReload func(ctx context.Context) error

	// OnStop asks the component to stop soon. It may wait until the component has stopped. When OnStop
	// is called, the components that started after this one have already stopped. The context of
	// OnStop ends when StopTimeout expires.
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

// With adds a component. Each call adds another one. Components start in the order given and stop
// in reverse order. A component without a hook is an error, and so are two with the same name. By
// default, there is no component.
func With(h Hooks) Option {
	return option(func(c *plan) { c.hooks = append(c.hooks, h) })
}

// OnStart sets the OnStart of a component that has the name of the program. The options OnReload,
// OnStop, OnExit and OnCheck set the other hooks of that component. The first of these options
// determines where the component stands in the order of components. It is an error to give one of
// them twice.
// A program with several components uses [With]. See [Hooks] for each hook. By default, there is no
// such component.
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

// completeHooks names the components, and refuses those that do nothing or have the same name.
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
// returned, or a [*PanicError]. If the hook exceeded its time, it wraps [ErrStartTimeout],
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
