package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"example.com/lifecycle"
	"example.com/lifecycle/socket"
)

const maxBody = 1 << 20

// server is the component that answers HTTP.
type server struct {
	conf     *configFile
	logger   *slog.Logger
	listener net.Listener
	http     *http.Server
}

// listen is OnStart and not a part of serve. The start therefore fails if the address is not
// available.
func (s *server) listen(ctx context.Context) error {
	if s.logger == nil {
		s.logger = slog.Default()
	}
	// The listener is the socket of echod.socket if systemd passes it.
	listener, err := socket.Listen("tcp", s.conf.current().listen)
	if err != nil {
		return err
	}
	s.listener = listener
	s.http = &http.Server{
		Handler:  s.handler(),
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),

		// ctx ends when a stop is requested. Requests in progress use the context of Grace, because srv
		// must still answer them during the stop.
		BaseContext: func(net.Listener) context.Context { return lifecycle.From(ctx).Grace() },

		// A request ends after 15 s. No slow client can then outlast the 20 s of a stop.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	s.logger.Info("listening", "addr", listener.Addr().String())
	return nil
}

// serve does not use its context. drain ends it, and then it returns http.ErrServerClosed.
func (s *server) serve(context.Context) error { return s.http.Serve(s.listener) }

// drain accepts no new connections. It returns when the last request has been answered, or when ctx
// ends.
func (s *server) drain(ctx context.Context) error { return s.http.Shutdown(ctx) }

// close closes the connections that remain after drain, and the listener if serve was never called.
func (s *server) close(context.Context) error {
	err := s.http.Close()
	if lerr := s.listener.Close(); !errors.Is(lerr, net.ErrClosed) {
		err = errors.Join(err, lerr)
	}
	return err
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.greet)
	mux.HandleFunc("POST /echo", s.echo)
	mux.HandleFunc("GET /healthz", s.healthz)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff") // echo returns the client's input
		mux.ServeHTTP(w, r)
		s.logger.DebugContext(r.Context(), "request",
			"method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr, "took", time.Since(start))
	})
}

func (s *server) greet(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, s.conf.current().greeting)
}

func (s *server) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	case err != nil:
		http.Error(w, "the request body is incomplete", http.StatusBadRequest)
	default:
		fmt.Fprintf(w, "%s, %s\n", s.conf.current().greeting, body)
	}
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "ok")
}
