package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"example.com/lifecycle"
	"example.com/lifecycle/socket"
)

// HTTP returns a component that serves HTTP at an address. OnStart listens with socket.Listen, so
// the address outlives the process. If the address is in use, the start fails. Run serves. OnStop
// drains the server:
//
//  1. The server accepts no more connections. Connections that it has accepted already are served,
//     even if their first request has not arrived. Clients that connect now wait for the next
//     process if a manager keeps the socket, and are refused otherwise.
//  2. Each response from now on closes its connection: "Connection: close" in HTTP/1, GOAWAY in
//     HTTP/2. A connection that was used in the last second stays open until its next request, for
//     at most a second, or for five seconds in a worker that an upgrade has replaced. So a client
//     rarely sends a request on a connection that the server closes at that moment.
//  3. Requests in progress get the rest of StopTimeout, or of DrainTimeout in a replaced worker.
//     After that time, OnStop closes the connections of unfinished requests, and returns an error
//     with the number of these requests.
//
// The context of a request ends when the time of step 3 is over, unless srv.BaseContext is set; see
// [lifecycle.Life.Grace]. The handler of a connection that was taken over, such as a WebSocket,
// counts as a request until it returns. srv.RegisterOnShutdown can notify it of the stop.
//
// If srv.TLSConfig is set, the server uses TLS with its certificates, and HTTP/2. HTTP sets
// srv.BaseContext if it is nil, and wraps srv.Handler, srv.ConnContext and srv.ConnState. Do not
// call methods of srv that start or stop it. The server cannot serve in another life afterwards.
func HTTP(srv *http.Server, network, address string) lifecycle.Hooks {
	s := &httpServer{srv: srv, network: network, address: address, conns: newConnections(), served: make(chan struct{})}
	return lifecycle.Hooks{Name: "http " + address, OnStart: s.start, Run: s.run, OnStop: s.stop}
}

type httpServer struct {
	srv              *http.Server
	network, address string

	listener net.Listener
	grace    context.Context // ends when the time for requests in progress is over
	ctx      context.Context // of run; its cause is why the life stops
	conns    *connections
	drains   atomic.Bool
	runs     atomic.Bool
	served   chan struct{} // closed when no further connection is accepted
}

func (s *httpServer) start(ctx context.Context) (err error) {
	if s.listener, err = socket.Listen(s.network, s.address); err != nil {
		return err
	}
	s.grace = lifecycle.From(ctx).Grace()
	if s.srv.BaseContext == nil {
		s.srv.BaseContext = func(net.Listener) context.Context { return s.grace }
	}
	s.wrapHandler()
	s.wrapConnections()
	return nil
}

// wrapHandler counts the requests in progress. During the drain, each response closes its
// connection.
func (s *httpServer) wrapHandler() {
	handler := s.srv.Handler
	if handler == nil {
		handler = http.DefaultServeMux
	}
	s.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.conns.begin(r, func() bool { return s.grace.Err() != nil })()
		if s.drains.Load() {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
}

func (s *httpServer) wrapConnections() {
	contextOf, report := s.srv.ConnContext, s.srv.ConnState
	s.srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if contextOf != nil {
			ctx = contextOf(ctx, c)
		}
		return context.WithValue(ctx, connKey{}, c)
	}
	s.srv.ConnState = func(c net.Conn, state http.ConnState) {
		s.conns.changed(c, state)
		if report != nil {
			report(c, state)
		}
	}
}

func (s *httpServer) run(ctx context.Context) (err error) {
	s.ctx = ctx
	s.runs.Store(true)
	defer close(s.served)
	if s.srv.TLSConfig != nil {
		err = s.srv.ServeTLS(s.listener, "", "")
	} else {
		err = s.srv.Serve(s.listener)
	}
	if s.drains.Load() || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

const (
	// quiet is how long a connection must be unused before the drain closes it.
	quiet = time.Second
	// quietReplaced is the same in a replaced worker. Nothing waits for the end of that worker.
	quietReplaced = 5 * time.Second
)

func (s *httpServer) stop(ctx context.Context) error {
	s.drains.Store(true)
	_ = s.listener.Close()
	if !s.runs.Load() { // the start failed
		return nil
	}
	// When Serve has returned, the server knows all connections that it has accepted. Shutdown would
	// lose a connection that is accepted at the same moment.
	<-s.served
	unused := quiet
	if errors.Is(context.Cause(s.ctx), lifecycle.ErrReplaced) {
		unused = quietReplaced
	}
	defer s.conns.showProgress(lifecycle.From(ctx).SetStatus)()
	s.conns.awaitUnused(ctx, unused)
	_ = s.srv.Shutdown(ctx)
	s.conns.awaitHandlers(ctx) // the remaining handlers have taken over their connections
	if ctx.Err() == nil {
		return nil
	}
	cut := s.conns.late()
	_ = s.srv.Close()
	if cut == 0 {
		return nil // only connections without a request were left
	}
	return fmt.Errorf("cut %s that did not end in time", requests(cut))
}

func requests(n int) string {
	if n == 1 {
		return "1 request"
	}
	return fmt.Sprintf("%d requests", n)
}
