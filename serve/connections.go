package serve

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// connections records which HTTP/1 connections have no running handler, and counts the handlers.
//
// http.Server.Shutdown drops a request that it has read but not passed to a handler. It also closes
// a connection whose response has promised to keep it. So a drain calls Shutdown only when it
// expects no request on any connection.
type connections struct {
	mu      sync.Mutex
	open    map[net.Conn]*connection
	running int           // handlers
	cut     int           // handlers that returned too late
	changes chan struct{} // receives a value after a change
}

type connection struct {
	http2   bool      // known since the first request
	handled bool      // a handler runs
	since   time.Time // when the last handler began or ended
}

func newConnections() *connections {
	return &connections{open: map[net.Conn]*connection{}, changes: make(chan struct{}, 1)}
}

// connKey is the key of the net.Conn in the context of a request.
type connKey struct{}

// changed records the state of a connection (http.Server.ConnState).
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = &connection{since: time.Now()}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
	c.notify()
}

// begin records that the handler of a request begins, until end is called. isLate is called when
// the handler has returned.
func (c *connections) begin(r *http.Request, isLate func() bool) (end func()) {
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running++
	c.handle(conn, true)
	if open := c.open[conn]; open != nil {
		open.http2 = r.ProtoMajor == 2
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running--
		c.handle(conn, false)
		if isLate() {
			c.cut++
		}
	}
}

// handle records whether a handler runs on a connection. c.mu is held.
func (c *connections) handle(conn net.Conn, is bool) {
	if open := c.open[conn]; open != nil {
		open.handled, open.since = is, time.Now()
	}
	c.notify()
}

// notify wakes await. c.mu is held.
func (c *connections) notify() {
	select {
	case c.changes <- struct{}{}:
	default:
	}
}

// awaitUnused waits until each connection without a handler has had none for that time.
func (c *connections) awaitUnused(ctx context.Context, unused time.Duration) {
	c.await(ctx, func() (wait time.Duration) {
		for _, is := range c.open {
			// Shutdown closes HTTP/2 without losing a request (RFC 9113, section 6.8).
			if !is.handled && !is.http2 {
				wait = max(wait, time.Until(is.since.Add(unused)))
			}
		}
		return wait
	})
}

// awaitHandlers waits until no handler runs.
func (c *connections) awaitHandlers(ctx context.Context) {
	c.await(ctx, func() time.Duration { return time.Duration(c.running) * time.Hour })
}

// await waits until left returns 0, or ctx ends. left returns how long to wait if nothing changes.
// It runs with c.mu held.
func (c *connections) await(ctx context.Context, left func() time.Duration) {
	for ctx.Err() == nil {
		c.mu.Lock()
		wait := left()
		c.mu.Unlock()
		if wait == 0 {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.changes:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// inProgress returns the number of handlers that run.
func (c *connections) inProgress() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// late returns the number of handlers that run, or that returned too late.
func (c *connections) late() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running + c.cut
}

// showProgress calls show with the number of requests in progress, now and then each second until
// end is called.
func (c *connections) showProgress(show func(text string)) (end func()) {
	now := func() { show(requests(c.inProgress()) + " in hand") }
	now()
	ticker, ended := time.NewTicker(time.Second), make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				now()
			case <-ended:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(ended)
	}
}
