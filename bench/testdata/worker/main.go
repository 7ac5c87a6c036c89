// Command worker FIFO [supervise] says its PID to the FIFO when it lives. It supervises itself, or leaves that to somebody else.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"example.com/lifecycle"
)

func main() {
	opts := []lifecycle.Option{lifecycle.PIDFile(""), lifecycle.OnStart(func(context.Context) error { return nil }), lifecycle.Logger(slog.New(slog.DiscardHandler))}
	if len(os.Args) > 2 {
		opts = append(opts, lifecycle.Supervise(lifecycle.RestartPolicy{Foreground: true, MinDelay: -1, Limit: -1}))
	}
	err := lifecycle.Run(func(ctx context.Context) error {
		fifo, err := os.OpenFile(os.Args[1], os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		time.AfterFunc(5*time.Minute, func() { os.Exit(0) }) // nobody has stopped it
		fmt.Fprintln(fifo, os.Getpid())
		<-ctx.Done()
		return nil
	}, opts...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(lifecycle.ExitCode(err))
}
