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

// listen is OnStart, not a part of serve: an address that cannot be had refuses the start.
func (s *server) listen(ctx context.Context) error {
	if s.logger == nil {
		s.logger = slog.Default()
	}
	listener, err := socket.Listen("tcp", s.conf.current().listen) // that of echod.socket, if systemd has it
	if err != nil {
		return err
	}
	s.listener = listener
	s.http = &http.Server{
		Handler:  s.handler(),
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),

		// Not ctx: it ends with the request for a stop, and every request in flight with it, which the stop means to drain.
		BaseContext: func(net.Listener) context.Context { return lifecycle.From(ctx).Grace() },

		// A request is over after 15 s, so that no slow client outlasts the 20 s of a stop.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	s.logger.Info("listening", "addr", listener.Addr().String())
	return nil
}

// serve pays no heed to its context: drain is what ends it, with http.ErrServerClosed.
func (s *server) serve(context.Context) error { return s.http.Serve(s.listener) }

// drain takes no new connection and returns when the last request has been answered, or its time is up.
func (s *server) drain(ctx context.Context) error { return s.http.Shutdown(ctx) }

// close frees what is left: connections that the drain had no time for, and the listener where serve was never called.
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
		w.Header().Set("X-Content-Type-Options", "nosniff") // echo says what it was told
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
		http.Error(w, "the body did not come whole", http.StatusBadRequest)
	default:
		fmt.Fprintf(w, "%s, %s\n", s.conf.current().greeting, body)
	}
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "ok")
}
