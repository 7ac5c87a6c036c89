package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/lifecycle"
)

// Most lives here are Embedded and log nothing, for they share a process with others. A daemon needs neither option.
var withoutLog = lifecycle.Logger(slog.New(slog.DiscardHandler))

// endWhenReady takes the place of the TERM that ends a daemon. What Every was given runs only when the life is ready.
var endWhenReady = lifecycle.Every(time.Millisecond, func(ctx context.Context) error {
	lifecycle.From(ctx).Stop(nil)
	return nil
})

// saying is a hook that says something.
func saying(text string) func(context.Context) error {
	return func(context.Context) error { fmt.Println(text); return nil }
}

// A web server. In a program it is os.Exit(lifecycle.Main(os.Args[1:], …)), without the visitor and the two options at the end.
func Example() {
	hello := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }
	srv := &http.Server{Handler: http.HandlerFunc(hello)}
	var listener net.Listener
	visit := func(context.Context) error { // its return ends the life
		resp, err := http.Get("http://" + listener.Addr().String())
		if err == nil {
			_, err = io.Copy(os.Stdout, resp.Body)
		}
		return err
	}
	code := lifecycle.Main([]string{"run"},
		func(context.Context) error { return srv.Serve(listener) },
		lifecycle.OnStart(func(context.Context) (err error) {
			listener, err = net.Listen("tcp", "127.0.0.1:0")
			return err // an address that cannot be had refuses the start
		}),
		lifecycle.OnStop(srv.Shutdown), // requests in flight are answered
		lifecycle.CleanErrors(http.ErrServerClosed),
		lifecycle.With(lifecycle.Hooks{Name: "visitor", Run: visit}),
		lifecycle.Embedded(), withoutLog)
	fmt.Println("exit code", code)
	// Output:
	// hello
	// exit code 0
}

// The context of fn ends when fn is to return, and its cause says why. In a program os.Exit(lifecycle.ExitCode(err)) follows.
func ExampleRun() {
	base, cancel := context.WithCancelCause(context.Background())
	work := func(ctx context.Context) error {
		cancel(errors.New("the example is over"))
		<-ctx.Done()
		fmt.Println("asked to return:", context.Cause(ctx))
		return nil
	}
	err := lifecycle.Run(work, lifecycle.BaseContext(base), lifecycle.Embedded(), withoutLog)
	fmt.Println("Run returned", err)
	// Output:
	// asked to return: the example is over
	// Run returned <nil>
}

// Main tells people on stderr what came of a verb, and programs by the exit code.
func ExampleMain() {
	echod := func(args ...string) {
		bad := func(context.Context) error { return errors.New(`echod.json:7: unknown field "lisen"`) }
		code := lifecycle.Main(args, nil,
			lifecycle.Name("echod"), lifecycle.PIDFile("/nowhere/echod.pid"), lifecycle.OnCheck(bad))
		fmt.Println(args, code)
	}
	echod("check")            // echod: check failed: echod.json:7: unknown field "lisen"
	echod("reload")           // echod: nothing to reload: this program does nothing at a reload
	echod("stop")             // echod: not running (nobody holds /nowhere/echod.pid)
	echod("stop", "--oknodo") // the same, but that is fine
	// Output:
	// [check] 6
	// [reload] 3
	// [stop] 7
	// [stop --oknodo] 0
}

// The order may surprise: OnExit of b does not follow OnStop of b. First every component is asked to stop, and when all
// bodies have returned, every component is freed; both in reverse.
func ExampleWith() {
	component := func(name string) lifecycle.Option {
		return lifecycle.With(lifecycle.Hooks{
			Name:    name,
			OnStart: saying("OnStart " + name),
			OnStop:  saying("OnStop " + name),
			OnExit:  saying("OnExit " + name),
		})
	}
	err := lifecycle.Run(nil, component("a"), component("b"), endWhenReady, lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// OnStart a
	// OnStart b
	// OnStop b
	// OnStop a
	// OnExit b
	// OnExit a
	// <nil>
}

// A component with a body of its own: OnStop asks that to return, OnExit frees what it used.
func ExampleHooks() {
	var jobs chan string
	queue := lifecycle.Hooks{
		Name:    "queue",
		OnStart: func(context.Context) error { jobs = make(chan string, 10); return nil },
		Run: func(context.Context) error {
			for job := range jobs {
				fmt.Println("done:", job)
			}
			return nil
		},
		OnStop: func(context.Context) error { close(jobs); return nil },
		OnExit: saying("nobody uses the queue any more"),
	}
	work := func(context.Context) error { // its return ends the life
		jobs <- "wash"
		jobs <- "dry"
		return nil
	}
	fmt.Println(lifecycle.Run(work, lifecycle.With(queue), lifecycle.Embedded(), withoutLog))
	// Output:
	// done: wash
	// done: dry
	// nobody uses the queue any more
	// <nil>
}

// An error of OnStart refuses the start: no body is called, and what was started before is stopped and freed.
func ExampleOnStart() {
	listen := func(context.Context) error { return errors.New("listen tcp :80: address already in use") }
	err := lifecycle.Run(saying("never said"),
		lifecycle.With(lifecycle.Hooks{
			Name:    "db",
			OnStart: saying("db connects"),
			OnStop:  saying("db flushes"),
			OnExit:  saying("db disconnects"),
		}),
		lifecycle.OnStart(listen),
		lifecycle.OnExit(saying("never said, for the component was not started")),
		lifecycle.Name("echod"), lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// db connects
	// db flushes
	// db disconnects
	// lifecycle: OnStart of echod: listen tcp :80: address already in use
}

// OnStop asks what OnStart began to come to its end.
func ExampleOnStop() {
	ticker := &time.Ticker{}
	err := lifecycle.Run(nil,
		lifecycle.OnStart(func(context.Context) error {
			ticker = time.NewTicker(time.Hour)
			fmt.Println("the clock ticks")
			return nil
		}),
		lifecycle.OnStop(func(context.Context) error {
			ticker.Stop()
			fmt.Println("the clock stands still")
			return nil
		}),
		endWhenReady, lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// the clock ticks
	// the clock stands still
	// <nil>
}

// A reload asks every OnCheck before it tells any OnReload, and who asked for it gets the verdict; from another process,
// that is [lifecycle.Process.Reload].
func ExampleOnReload() {
	file, level := "info", "" // what the configuration file says, and what the program uses
	check := func(context.Context) error {
		if file == "loud" {
			return fmt.Errorf("level: %q is not one of debug, info", file)
		}
		return nil
	}
	load := func(context.Context) error { level = file; return nil }
	edit := func(ctx context.Context) error {
		for _, file = range []string{"debug", "loud"} {
			err := lifecycle.From(ctx).Reload(ctx)
			fmt.Printf("level %s, verdict: %v\n", level, err)
		}
		return nil
	}
	err := lifecycle.Run(edit, lifecycle.OnCheck(check), lifecycle.OnStart(load), lifecycle.OnReload(load),
		lifecycle.Name("echod"), lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// level debug, verdict: <nil>
	// level debug, verdict: lifecycle: OnCheck of echod: level: "loud" is not one of debug, info
	// <nil>
}

// A signal that the life does not use itself gets a meaning. The function runs only when the life is ready, and never beside
// a hook.
func ExampleOnSignal() {
	report := func(ctx context.Context) error {
		fmt.Println("3 connections")
		lifecycle.From(ctx).Stop(nil)
		return nil
	}
	work := func(ctx context.Context) error {
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Signal(syscall.SIGUSR2) // as kill -USR2 does
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

// The function is called again and again while the life is ready, and never beside itself.
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

// The bodies are at work already, but nobody is told that the daemon is ready before its cache is warm.
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

// When a stop is asked for, the life is not ready any more but goes on serving, so that a load balancer can look away.
func ExampleStopDelay() {
	serve := func(ctx context.Context) error {
		life := lifecycle.From(ctx)
		for life.Phase() != lifecycle.Ready {
			time.Sleep(time.Millisecond)
		}
		life.Stop(nil)
		fmt.Printf("%v, but not yet asked to return: %v\n", life.Phase(), ctx.Err() == nil)
		return nil // all the same, and with the last body the delay ends
	}
	err := lifecycle.Run(serve, lifecycle.OnStart(saying("started")), lifecycle.StopDelay(15*time.Second),
		lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// started
	// stopping, but not yet asked to return: true
	// <nil>
}

// The values of the context reach every hook and body, and its end is a stop request.
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

// What a server returns because it was asked to stop is no failure.
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

// A hook that does not return is given up and named, and the log has its stack.
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

// An OnStart that heeds its context is not given up and has its say, but the start is refused.
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

// What the life says of itself goes to this logger.
// The program logs to the journal with priorities where systemd keeps its stderr, and as text elsewhere.
func ExampleStderrHandler() {
	slog.SetDefault(slog.New(lifecycle.StderrHandler(slog.LevelWarn)))
	slog.Info("is below the level")
	// Output:
}

func ExampleLogger() {
	same := func(_ []string, a slog.Attr) slog.Attr { // the time and such differ from run to run
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

// Of this daemon there is not even a PID file.
func ExampleFind() {
	process, err := lifecycle.Find("/nowhere/echod.pid")
	var gone *lifecycle.NotRunningError
	switch {
	case err == nil:
		fmt.Println("running with pid", process.PID)
		process.Close()
	case errors.As(err, &gone) && gone.Stale:
		fmt.Printf("pid %d is dead and has left %s\n", gone.PID, gone.PIDFile)
	case errors.As(err, &gone):
		fmt.Println("nobody holds", gone.PIDFile)
	default:
		fmt.Println("unknown:", err)
	}
	// Output: nobody holds /nowhere/echod.pid
}

// echodInBackground starts a daemon for the examples below, in this process. It returns when the daemon can be found and is
// about to be ready.
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

// The second to start learns who was first.
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

// Who needs the daemon waits until it is ready.
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

// The verdict comes back to who asked for the reload.
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

// What the daemon says that it is doing is what the verb status shows.
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

// The line is for people, and the verb status shows it.
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

// Stop waits for as long as the context lets it.
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

// A program that goes into the background by itself: its main runs in the launcher up to Run, and in the daemon.
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

// A command that needs a daemon, and starts it if there is none. _example/agentctl is a whole program of this kind.
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
