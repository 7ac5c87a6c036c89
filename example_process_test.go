package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"example.com/lifecycle"
)

// No daemon runs, and there is no PID file.
func ExampleFind() {
	process, err := lifecycle.Find("/nowhere/echod.pid")
	var gone *lifecycle.NotRunningError
	switch {
	case err == nil:
		fmt.Println("running with pid", process.PID)
		process.Close()
	case errors.As(err, &gone) && gone.Stale:
		fmt.Printf("pid %d died and left %s\n", gone.PID, gone.PIDFile)
	case errors.As(err, &gone):
		fmt.Println("nobody holds", gone.PIDFile)
	default:
		fmt.Println("unknown:", err)
	}
	// Output: nobody holds /nowhere/echod.pid
}

// echodInBackground starts a daemon for the examples below, in this process. It returns when Find
// finds the daemon, shortly before it is ready.
func echodInBackground(opts ...lifecycle.Option) (pidFile string, stop func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	pidFile = filepath.Join(dir, "echod.pid")
	begun, ended := make(chan *lifecycle.Life, 1), make(chan error, 1)
	serve := func(ctx context.Context) error {
		begun <- lifecycle.From(ctx)
		<-ctx.Done()
		return nil
	}
	opts = append(opts, lifecycle.Name("echod"), lifecycle.PIDFile(pidFile), withoutLog)
	go func() { ended <- lifecycle.Run(serve, opts...) }()
	select {
	case life := <-begun:
		return pidFile, func() {
			life.Stop(nil)
			if err := errors.Join(<-ended, os.RemoveAll(dir)); err != nil {
				panic(err)
			}
		}
	case err := <-ended:
		panic(err)
	}
}

// The error of a second start names the daemon that runs.
func ExampleAlreadyRunningError() {
	pidFile, stop := echodInBackground()
	defer stop()
	err := lifecycle.Run(nil, lifecycle.PIDFile(pidFile), withoutLog)
	var running *lifecycle.AlreadyRunningError
	if errors.As(err, &running) {
		fmt.Println(running.PID == os.Getpid(), running.PIDFile == pidFile)
	}
	// Output: true true
}

// A program that needs the daemon waits until it is ready.
func ExampleProcess_WaitReady() {
	pidFile, stop := echodInBackground(lifecycle.ReadyWhen(saying("the cache is warm")))
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	process, err := lifecycle.Find(pidFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer process.Close()
	fmt.Println(process.WaitReady(ctx))
	// Output:
	// the cache is warm
	// <nil>
}

// Reload returns the verdict to the process that requested the reload.
func ExampleProcess_Reload() {
	load := func(context.Context) error { return errors.New("no echod.json") }
	pidFile, stop := echodInBackground(lifecycle.OnStart(saying("started")), lifecycle.OnReload(load))
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	process, err := lifecycle.Find(pidFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer process.Close()
	err = process.Reload(ctx)
	fmt.Println(err)
	fmt.Println(errors.Is(err, lifecycle.ErrReload))
	// Output:
	// started
	// lifecycle: OnReload of echod: no echod.json
	// true
}

// Status returns the state of the daemon. The verb status shows it.
func ExampleProcess_Status() {
	pidFile, stop := echodInBackground(lifecycle.OnStart(saying("started")), lifecycle.Version("1.2"))
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	process, err := lifecycle.Find(pidFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer process.Close()
	fmt.Println(process.WaitReady(ctx))
	s, err := process.Status()
	fmt.Println(s.Name, s.Version, s.Phase, err)
	// Output:
	// started
	// <nil>
	// echod 1.2 ready <nil>
}

// SetStatus sets a line for people. The verb status shows it.
func ExampleLife_SetStatus() {
	connect := func(ctx context.Context) error {
		lifecycle.From(ctx).SetStatus("3 of 8 shards are back")
		return nil
	}
	pidFile, stop := echodInBackground(lifecycle.OnStart(connect))
	defer stop()

	process, err := lifecycle.Find(pidFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer process.Close()
	s, err := process.Status()
	fmt.Println(s.Text, err)
	// Output: 3 of 8 shards are back <nil>
}

// Stop waits until the daemon is gone or the context ends.
func ExampleProcess_Stop() {
	process, err := lifecycle.Find("/run/echod.pid")
	if errors.Is(err, lifecycle.ErrNotRunning) {
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer process.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err = process.Stop(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = process.Kill(context.Background()) // runs no hook
	}
	fmt.Println("gone:", err == nil)
}

// A program that detaches itself: its main runs in the launcher up to Run, and in the daemon.
func ExampleDetach() {
	err := lifecycle.Run(nil, lifecycle.Name("agentd"), lifecycle.Detach())
	if err != nil {
		fmt.Fprintln(os.Stderr, "agentd:", err)
		os.Exit(lifecycle.ExitCode(err))
	}
	if !lifecycle.InDaemon() {
		fmt.Println("agentd is ready")
	}
}

// A command that needs a daemon, and starts it if none runs. _example/agentctl is such a program.
func ExampleEnsure() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	daemon, err := lifecycle.Ensure(ctx, lifecycle.Name("agentd"), lifecycle.Args("daemon", "start"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "agentctl:", err)
		return
	}
	defer daemon.Close()
	fmt.Println("agentd is ready, pid", daemon.PID)
}

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

// An error carries its exit code to the end of main. 78 is EX_CONFIG of sysexits(3).
func ExampleWithExitCode() {
	load := func(context.Context) error { return lifecycle.WithExitCode(errors.New("no echod.json"), 78) }
	err := lifecycle.Run(nil, lifecycle.OnStart(load), lifecycle.Name("echod"), lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	fmt.Println(lifecycle.ExitCode(err))
	// Output:
	// lifecycle: OnStart of echod: no echod.json
	// 78
}

// The error of a hook names the hook. If Run returns several errors, errors.As finds the first one.
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

// A panic in a hook or body is an error like any other, so the hooks of the stop still run.
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

// Before Run, main runs in the launcher and in the daemon. Few programs need to distinguish them.
func ExampleInDaemon() {
	if lifecycle.InDaemon() {
		slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil))) // in the log, for machines
	}
	os.Exit(lifecycle.Main(os.Args[1:], nil))
}

// A deployment upgrades the daemon, and reports why a new program was refused.
func ExampleProcess_Upgrade() {
	daemon, err := lifecycle.Find("/run/echod.pid")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer daemon.Close()
	if err := daemon.Upgrade(context.Background()); errors.Is(err, lifecycle.ErrUpgrade) {
		fmt.Println("the old program serves on:", err)
		return
	}
	if s, err := daemon.Status(); err == nil && s.LastUpgrade != nil {
		fmt.Println("upgraded to", s.LastUpgrade.NewVersion, "in", s.LastUpgrade.Took)
		fmt.Println("workers that finish their requests:", len(s.Draining))
	}
}
