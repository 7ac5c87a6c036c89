package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/lifecycle"
)

// OnSignal handles a signal that the life does not use itself. The function runs only while the
// life is ready, and never concurrently with a hook.
func ExampleOnSignal() {
	report := func(ctx context.Context) error {
		fmt.Println("3 connections")
		lifecycle.From(ctx).Stop(nil)
		return nil
	}
	work := func(ctx context.Context) error {
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Signal(syscall.SIGUSR2) // like kill -USR2
		<-ctx.Done()
		return nil
	}
	err := lifecycle.Run(work, lifecycle.OnStart(saying("started")), lifecycle.OnSignal(syscall.SIGUSR2, report),
		lifecycle.PIDFile(""), withoutLog)
	fmt.Println(err)
	// Output:
	// started
	// 3 connections
	// <nil>
}

// The life calls the function once per interval while it is ready, and never concurrently with
// itself.
func ExampleEvery() {
	left := 3
	sweep := func(ctx context.Context) error {
		fmt.Println("sweep", left)
		if left--; left == 0 {
			lifecycle.From(ctx).Stop(nil)
		}
		return nil
	}
	err := lifecycle.Run(nil, lifecycle.OnStart(saying("started")), lifecycle.Every(time.Millisecond, sweep),
		lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// started
	// sweep 3
	// sweep 2
	// sweep 1
	// <nil>
}

// The bodies run already, but the daemon reports ready only when its cache is warm.
func ExampleReadyWhen() {
	var warm atomic.Bool
	serve := func(ctx context.Context) error {
		fmt.Println("fills the cache:", lifecycle.From(ctx).Phase())
		warm.Store(true)
		<-ctx.Done()
		return nil
	}
	isWarm := func(context.Context) error { // asked again until it returns nil
		if !warm.Load() {
			return errors.New("the cache is cold")
		}
		return nil
	}
	sweep := func(ctx context.Context) error {
		fmt.Println("sweeps the cache:", lifecycle.From(ctx).Phase())
		lifecycle.From(ctx).Stop(nil)
		return nil
	}
	err := lifecycle.Run(serve, lifecycle.ReadyWhen(isWarm), lifecycle.Every(time.Millisecond, sweep),
		lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// fills the cache: starting
	// sweeps the cache: ready
	// <nil>
}

// After a stop request the life is no longer ready but continues to serve. A load balancer then has
// time to remove it.
func ExampleStopDelay() {
	serve := func(ctx context.Context) error {
		life := lifecycle.From(ctx)
		for life.Phase() != lifecycle.Ready {
			time.Sleep(time.Millisecond)
		}
		life.Stop(nil)
		fmt.Printf("%v, but not yet asked to return: %v\n", life.Phase(), ctx.Err() == nil)
		return nil // the last body has returned, so the delay ends
	}
	err := lifecycle.Run(serve, lifecycle.OnStart(saying("started")), lifecycle.StopDelay(15*time.Second),
		lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// started
	// stopping, but not yet asked to return: true
	// <nil>
}

// Every hook and body gets the values of the context. The end of the context is a stop request.
func ExampleBaseContext() {
	type region struct{}
	base, cancel := context.WithCancelCause(context.WithValue(context.Background(), region{}, "north"))
	work := func(ctx context.Context) error {
		fmt.Println("region", ctx.Value(region{}))
		cancel(errors.New("the region is closed"))
		<-ctx.Done()
		fmt.Println(context.Cause(ctx))
		return ctx.Err() // context.Canceled is no failure after a stop
	}
	fmt.Println(lifecycle.Run(work, lifecycle.BaseContext(base), lifecycle.Embedded(), withoutLog))
	// Output:
	// region north
	// the region is closed
	// <nil>
}

// The error that the server returns after the stop request is no failure.
func ExampleCleanErrors() {
	serve := func(ctx context.Context) error {
		lifecycle.From(ctx).Stop(nil)
		<-ctx.Done()
		return http.ErrServerClosed // as (*http.Server).Serve does after Shutdown
	}
	fmt.Println(lifecycle.Run(serve, lifecycle.Embedded(), withoutLog))
	fmt.Println(lifecycle.Run(serve, lifecycle.Embedded(), withoutLog, lifecycle.CleanErrors(http.ErrServerClosed)))
	// Output:
	// http: Server closed
	// <nil>
}

// A hook that does not return in time is abandoned. The error names the hook, and the log contains
// its stack.
func ExampleStopTimeout() {
	hang := func(context.Context) error { select {} }
	err := lifecycle.Run(saying("served"),
		lifecycle.OnStop(hang), lifecycle.StopTimeout(20*time.Millisecond),
		lifecycle.Name("echod"), lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	fmt.Println(errors.Is(err, lifecycle.ErrStopTimeout))
	// Output:
	// served
	// lifecycle: OnStop of echod: did not return in 20ms
	// true
}

// The life does not abandon an OnStart that returns when its context ends. The start fails with the
// error of the hook.
func ExampleStartTimeout() {
	connect := func(ctx context.Context) error {
		<-ctx.Done()
		return errors.New("no answer from db")
	}
	err := lifecycle.Run(nil,
		lifecycle.OnStart(connect), lifecycle.StartTimeout(20*time.Millisecond),
		lifecycle.Name("echod"), lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	fmt.Println(errors.Is(err, lifecycle.ErrStartTimeout))
	// Output:
	// lifecycle: OnStart of echod: did not return in 20ms, then returned: no answer from db
	// true
}

// The life logs to this logger.
// The program logs with priorities if its stderr is the journal of systemd, and as text elsewhere.
func ExampleStderrHandler() {
	slog.SetDefault(slog.New(lifecycle.StderrHandler(slog.LevelWarn)))
	slog.Info("is below the level")
	// Output:
}

func ExampleLogger() {
	same := func(_ []string, a slog.Attr) slog.Attr { // times differ between two runs
		if a.Key == slog.LevelKey || a.Key == slog.MessageKey || a.Key == "reason" {
			return a
		}
		return slog.Attr{}
	}
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: same}))
	err := lifecycle.Run(nil, lifecycle.OnStart(saying("hello")), lifecycle.Logger(logger), endWhenReady, lifecycle.Embedded())
	fmt.Println(err)
	// Output:
	// hello
	// level=INFO msg=ready
	// level=INFO msg=stopping reason="the program asked for the stop"
	// level=INFO msg=stopped
	// <nil>
}

// The cause of the context of a body contains the signal.
func ExampleStopSignalError() {
	work := func(ctx context.Context) error {
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Signal(syscall.SIGTERM) // like kill
		<-ctx.Done()
		var by *lifecycle.StopSignalError
		if errors.As(context.Cause(ctx), &by) {
			fmt.Println("signal:", by.Signal)
		}
		return context.Cause(ctx) // no failure after a stop by a signal
	}
	fmt.Println(lifecycle.Run(work, lifecycle.PIDFile(""), withoutLog))
	// Output:
	// signal: terminated
	// <nil>
}

// Any number of embedded lives may run at once. For tests, package lifecycletest is easier to use.
func ExampleEmbedded() {
	ball := make(chan string)
	throw := func(context.Context) error { ball <- "a ball"; return nil }
	catch := func(context.Context) error { fmt.Println("caught", <-ball); return nil }

	thrower := make(chan error)
	go func() { thrower <- lifecycle.Run(throw, lifecycle.Embedded(), withoutLog) }()
	fmt.Println(lifecycle.Run(catch, lifecycle.Embedded(), withoutLog))
	fmt.Println(<-thrower)
	// Output:
	// caught a ball
	// <nil>
	// <nil>
}

// Any function that gets a context of the life can request a stop.
func ExampleLife_Stop() {
	work := func(ctx context.Context) error {
		lifecycle.From(ctx).Stop(errors.New("the licence has run out"))
		<-ctx.Done()
		return context.Cause(ctx) // with nil, Run would return nil
	}
	fmt.Println(lifecycle.Run(work, lifecycle.Embedded(), withoutLog))
	// Output: the licence has run out
}

// From returns the life of a context, and Phase its phase. Without a life in the context, the phase
// is exited.
func ExamplePhase() {
	phase := func(ctx context.Context) error { fmt.Println(lifecycle.From(ctx).Phase()); return nil }
	work := func(ctx context.Context) error {
		if err := lifecycle.From(ctx).Reload(ctx); err != nil { // waits until it is ready
			return err
		}
		return phase(ctx)
	}
	err := lifecycle.Run(work, lifecycle.OnStart(phase), lifecycle.OnReload(phase), lifecycle.OnStop(phase),
		lifecycle.Embedded(), withoutLog)
	fmt.Println(lifecycle.From(context.Background()).Phase(), err)
	// Output:
	// starting
	// reloading
	// ready
	// stopping
	// exited <nil>
}

// A program that writes its own log reopens that log when logrotate calls the verb reopen.
func ExampleOnReopen() {
	access := &accessLog{path: "/var/log/echod/access.log"}
	os.Exit(lifecycle.Main(os.Args[1:], nil,
		lifecycle.Name("echod"),
		lifecycle.OnStart(access.reopen),
		lifecycle.OnReopen(access.reopen)))
}

type accessLog struct {
	path string
	file atomic.Pointer[os.File]
}

func (l *accessLog) reopen(context.Context) error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	if old := l.file.Swap(f); old != nil {
		return old.Close()
	}
	return nil
}
