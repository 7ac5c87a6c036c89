// Package engine contains the operations with which package lifecycletest controls a life. Programs
// cannot call them.
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
	// Deliver makes the life react as if the signal had arrived. It reports whether the life handles
	// the signal.
	Deliver(sig os.Signal) bool
	// Tick calls functions of Every, one after the other, and blocks until they have returned. name is
	// the interval of the functions to call, or "" for all functions. called is the number of
	// functions.
	Tick(ctx context.Context, name string) (called int, err error)
}
