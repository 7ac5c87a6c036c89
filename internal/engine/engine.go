// Package engine is how the package lifecycletest gets at a life: what its context carries, and what can be done to it that
// no program could do to itself.
package engine

import (
	"context"
	"os"
)

// Key is under what the contexts of a life carry it.
type Key struct{}

// Engine is a life.
type Engine interface {
	// Ready is closed when the life has been ready.
	Ready() <-chan struct{}
	// Deliver does what the life does when that signal arrives, and says whether it knows it.
	Deliver(sig os.Signal) bool
	// Tick calls the functions given to Every that go by that name, one after the other, and waits for them. An interval is a name; so is
	// "", of all. It returns how many there were.
	Tick(ctx context.Context, name string) (called int, err error)
}
