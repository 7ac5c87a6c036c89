package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"example.com/lifecycle"
)

// agent contains what the daemon and its clients share: the directory of the files.
type agent struct{ dir string }

func (a agent) socket() string { return filepath.Join(a.dir, "agentd.sock") }

// options returns the options of the daemon. Clients that start the daemon need the same options.
func (a agent) options() []lifecycle.Option {
	var listener net.Listener
	srv := &http.Server{Handler: new(memory)}
	return []lifecycle.Option{
		lifecycle.Name("agentd"),
		lifecycle.PIDFile(filepath.Join(a.dir, "agentd.pid")),
		lifecycle.LogFile(filepath.Join(a.dir, "agentd.log")),
		lifecycle.Umask(0o077), // only the owner may connect to the socket
		lifecycle.CleanErrors(http.ErrServerClosed),
		lifecycle.With(lifecycle.Hooks{
			Name: "socket",
			OnStart: func(context.Context) (err error) {
				// The daemon holds the PID file. Therefore a daemon that died has left this socket.
				if err := os.Remove(a.socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				listener, err = net.Listen("unix", a.socket())
				return err
			},
			Run:    func(context.Context) error { return srv.Serve(listener) },
			OnStop: srv.Shutdown,
		}),
	}
}

// memory stores the values. It is the service of the daemon.
type memory struct{ values sync.Map }

func (m *memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Path[1:]
	if r.Method == http.MethodPut {
		value, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		m.values.Store(key, string(value))
		return
	}
	value, ok := m.values.Load(key)
	if !ok {
		http.Error(w, "unknown key "+key, http.StatusNotFound)
		return
	}
	io.WriteString(w, value.(string))
}
