// Command worker FIFO [supervise] writes its PID to the FIFO when it is alive. With "supervise", it
// supervises itself. Otherwise another tool supervises it.
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
		time.AfterFunc(5*time.Minute, func() { os.Exit(0) }) // in case it is not stopped
		fmt.Fprintln(fifo, os.Getpid())
		<-ctx.Done()
		return nil
	}, opts...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(lifecycle.ExitCode(err))
}
