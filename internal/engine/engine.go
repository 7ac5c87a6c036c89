// Package engine gives package lifecycletest access to a life, including operations that a program
// cannot do to itself.
package engine

import (
	"context"
	"os"
)

// Key is the key under which the contexts of a life contain its [Engine].
type Key struct{}

// Engine is a life.
type Engine interface {
	// Ready is closed when the life has become ready.
	Ready() <-chan struct{}
	// Deliver does what the life does when that signal arrives. It reports whether the life handles
	// the signal.
	Deliver(sig os.Signal) bool
	// Tick calls functions of Every, one after the other, and waits for them. name is the interval
	// of the functions to call, or "" for all functions. Tick returns the number of functions
	// called.
	Tick(ctx context.Context, name string) (called int, err error)
}
