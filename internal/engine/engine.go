// Package engine lets package lifecycletest control a life. A program has no access to some of
// these operations.
package engine

import (
	"context"
	"os"
)

// Key is the key under which the contexts of a life contain its [Engine].
type Key struct{}

// Engine controls a life.
type Engine interface {
	// Ready is closed when the life has become ready.
	Ready() <-chan struct{}
	// Deliver makes the life act as if that signal had arrived. It reports whether the life handles
	// the signal.
	Deliver(sig os.Signal) bool
	// Tick calls functions of Every, one after the other, and waits for them. name is the interval
	// of the functions to call, or "" for all functions. Tick returns the number of functions
	// called.
	Tick(ctx context.Context, name string) (called int, err error)
}
