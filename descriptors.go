package lifecycle

import (
	"fmt"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
)

func init() { fdstore.InheritFrom(handshake.Given) }

// descriptors is what package fdstore is told of the life.
func (l *life) descriptors() fdstore.Life {
	tells := fdstore.Life{Stage: func() fdstore.Stage { return stageOf(l.snapshot().Phase) }}
	if m := l.manager; m != nil {
		tells.Manager = &fdstore.Manager{Room: m.room, Log: m.log, Store: m.store, Remove: m.unstore}
	}
	return tells
}

func stageOf(p Phase) fdstore.Stage {
	switch p {
	case Starting:
		return fdstore.Starting
	case Ready, Reloading:
		return fdstore.Running
	}
	return fdstore.Stopping
}

// listenedTooEarly returns an error if this process has opened sockets for another process that it is
// about to start.
func listenedTooEarly() error {
	u, ok := fdstore.FirstUse()
	if !ok {
		return nil
	}
	return fmt.Errorf("lifecycle: %s(%s, %s) at %s was called before Run in a program that detaches or "+
		"supervises itself: call it in OnStart", u.Call, u.Network, u.Address, u.Where)
}
