// Upgradable is a supervised daemon whose answer is the content of a file at its start. It counts
// its workers in a stored file. Package conformance upgrades this daemon.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"example.com/lifecycle"
	"example.com/lifecycle/serve"
	"example.com/lifecycle/socket"
)

func main() {
	pidFile := flag.String("pidfile", "", "its PID file")
	file := flag.String("file", "", "the `file` with its answer")
	flag.Parse()
	var answer []byte
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) })
	os.Exit(lifecycle.Main(flag.Args(), nil,
		lifecycle.Name("upgradable"), lifecycle.PIDFile(*pidFile),
		lifecycle.Supervise(lifecycle.RestartPolicy{Foreground: true}),
		lifecycle.OnStart(func(context.Context) error {
			text, err := os.ReadFile(*file)
			if err != nil {
				return err
			}
			workers, err := count()
			answer = fmt.Appendf(text, " %d", workers)
			return err
		}),
		lifecycle.With(serve.HTTP(&http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}, "tcp", "127.0.0.1:8080"))))
}

// count returns the number of workers that have started, this one included.
func count() (workers int64, err error) {
	var counter *os.File
	if stored := socket.Stored("workers"); len(stored) > 0 {
		counter = stored[0]
	} else {
		if counter, err = os.CreateTemp("", "workers"); err != nil {
			return 0, err
		}
		if err := errors.Join(socket.Store("workers", counter), os.Remove(counter.Name())); err != nil {
			return 0, err
		}
	}
	defer counter.Close()
	info, err := counter.Stat()
	if err != nil {
		return 0, err
	}
	workers = info.Size() + 1 // one byte for each
	return workers, counter.Truncate(workers)
}
