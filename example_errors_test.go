package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"example.com/lifecycle"
)

// The codes are those of the LSB and of sysexits(3).
func ExampleExitCode() {
	fmt.Println(lifecycle.ExitCode(nil))
	fmt.Println(lifecycle.ExitCode(errors.New("disk full")))
	fmt.Println(lifecycle.ExitCode(os.ErrPermission))
	fmt.Println(lifecycle.ExitCode(lifecycle.ErrNotRunning))
	fmt.Println(lifecycle.ExitCode(&lifecycle.PanicError{Value: "boom"}))
	// Output:
	// 0
	// 1
	// 4
	// 7
	// 70
}

// An error carries its exit code from where it happens to the end of main. 78 is EX_CONFIG of sysexits(3).
func ExampleWithExitCode() {
	load := func(context.Context) error { return lifecycle.WithExitCode(errors.New("no echod.json"), 78) }
	err := lifecycle.Run(nil, lifecycle.OnStart(load), lifecycle.Name("echod"), lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	fmt.Println(lifecycle.ExitCode(err))
	// Output:
	// lifecycle: OnStart of echod: no echod.json
	// 78
}

// The error of a hook says which it was. Where Run returns several, errors.As finds the first.
func ExampleHookError() {
	flush := func(context.Context) error { return io.ErrShortWrite }
	err := lifecycle.Run(saying("worked"), lifecycle.With(lifecycle.Hooks{Name: "db", OnExit: flush}),
		lifecycle.Embedded(), withoutLog)
	var failed *lifecycle.HookError
	if errors.As(err, &failed) {
		fmt.Println("component:", failed.Component)
		fmt.Println("hook:", failed.Hook)
		fmt.Println("error:", failed.Err)
	}
	// Output:
	// worked
	// component: db
	// hook: OnExit
	// error: short write
}

// A panic in a hook or body is an error like any other, so the hooks of the stop have their turn.
func ExamplePanicError() {
	serve := func(context.Context) error { panic("index out of range") }
	err := lifecycle.Run(serve, lifecycle.OnExit(saying("freed")), lifecycle.Embedded(), withoutLog)
	var panicked *lifecycle.PanicError
	if errors.As(err, &panicked) {
		fmt.Println("panic:", panicked.Value)
		fmt.Println("with its stack:", len(panicked.Stack) > 0)
	}
	// Output:
	// freed
	// panic: index out of range
	// with its stack: true
}

// The cause with which the context of a body ends says which signal it was.
func ExampleStopSignalError() {
	work := func(ctx context.Context) error {
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Signal(syscall.SIGTERM) // as kill does
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

// Any number of embedded lives may run at once. For tests, package lifecycletest does the rest.
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

// Whatever has a context of the life can ask for its stop.
func ExampleLife_Stop() {
	work := func(ctx context.Context) error {
		lifecycle.From(ctx).Stop(errors.New("the licence has run out"))
		<-ctx.Done()
		return context.Cause(ctx) // with nil, Run would return nil
	}
	fmt.Println(lifecycle.Run(work, lifecycle.Embedded(), withoutLog))
	// Output: the licence has run out
}

// A life tells its phase to whatever has a context of it. A context that belongs to none says that all is over.
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
