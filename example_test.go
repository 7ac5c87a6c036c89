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
	"time"

	"example.com/lifecycle"
)

// Most lives in these examples are Embedded and log nothing, because they share a process. A daemon
// needs neither option.
var withoutLog = lifecycle.Logger(slog.New(slog.DiscardHandler))

// endWhenReady stops the life when it is ready. In a daemon, TERM does that.
var endWhenReady = lifecycle.Every(time.Millisecond, func(ctx context.Context) error {
	lifecycle.From(ctx).Stop(nil)
	return nil
})

// saying returns a hook that prints the text.
func saying(text string) func(context.Context) error {
	return func(context.Context) error { fmt.Println(text); return nil }
}

// A web server. A program calls os.Exit(lifecycle.Main(os.Args[1:], …)), without the visitor and
// the two options at the end.
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
			return err // an address in use fails the start
		}),
		lifecycle.OnStop(srv.Shutdown), // requests in progress are answered
		lifecycle.CleanErrors(http.ErrServerClosed),
		lifecycle.With(lifecycle.Hooks{Name: "visitor", Run: visit}),
		lifecycle.Embedded(), withoutLog)
	fmt.Println("exit code", code)
	// Output:
	// hello
	// exit code 0
}

// The context of fn ends when fn should return, and its cause is the reason. A program then calls
// os.Exit(lifecycle.ExitCode(err)).
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

// Main reports the result of a verb: to people on stderr, and to programs by the exit code.
func ExampleMain() {
	echod := func(args ...string) {
		bad := func(context.Context) error { return errors.New(`echod.json:7: unknown field "lisen"`) }
		code := lifecycle.Main(args, nil,
			lifecycle.Name("echod"), lifecycle.PIDFile("/nowhere/echod.pid"), lifecycle.OnCheck(bad))
		fmt.Println(args, code)
	}
	echod("check")            // echod: check failed: echod.json:7: unknown field "lisen"
	echod("reload")           // echod: nothing to reload: this program does not support reload
	echod("stop")             // echod: not running (…)
	echod("stop", "--oknodo") // the same message, but exit code 0
	// Output:
	// [check] 6
	// [reload] 3
	// [stop] 7
	// [stop --oknodo] 0
}

// First, every OnStop runs in reverse order, each after the Run of all later components has
// returned. When all bodies have returned, every OnExit runs, also in reverse order. So OnStop of a
// runs before OnExit of b.
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

// A component with a body of its own: OnStop asks the body to return, and OnExit frees the
// resources of the body.
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

// An error of OnStart fails the start: the life calls no body, and calls OnStop and OnExit of the
// components that have started.
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

// OnStop ends the work that OnStart began.
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

// A reload calls every OnCheck before any OnReload, and returns the verdict to its caller. Another
// process calls [lifecycle.Process.Reload].
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

// Two requests are in progress at the stop request. The order uses the context of Grace, so it
// finishes. The feed would never finish. It uses the context of the body, so the stop request ends
// it.
func ExampleLife_Grace() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	inHand, packed := make(chan bool), make(chan bool)

	serve := func(ctx context.Context) error {
		grace := lifecycle.From(ctx).Grace()
		work := func(ctx context.Context, w http.ResponseWriter) {
			inHand <- true
			select {
			case <-packed:
				w.WriteHeader(http.StatusOK)
			case <-ctx.Done():
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
		var mux http.ServeMux
		mux.HandleFunc("/order", func(w http.ResponseWriter, r *http.Request) { work(r.Context(), w) })
		mux.HandleFunc("/feed", func(w http.ResponseWriter, _ *http.Request) { work(ctx, w) })
		server := &http.Server{
			Handler:     &mux,
			BaseContext: func(net.Listener) context.Context { return grace }, // parent of every r.Context()
		}
		go server.Serve(listener)
		<-ctx.Done()
		return server.Shutdown(grace) // returns when all requests are answered
	}
	get := func(path string) <-chan string {
		answer := make(chan string, 1)
		go func() {
			response, err := http.Get("http://" + listener.Addr().String() + path)
			if err != nil {
				panic(err)
			}
			response.Body.Close()
			answer <- response.Status
		}()
		<-inHand
		return answer
	}

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- lifecycle.Run(serve, lifecycle.BaseContext(ctx), lifecycle.Embedded(), lifecycle.Logger(slog.New(slog.DiscardHandler)))
	}()
	order, feed := get("/order"), get("/feed")
	stop()
	fmt.Println("feed:", <-feed)
	close(packed)
	fmt.Println("order:", <-order)
	fmt.Println("Run returned", <-ended)
	// Output:
	// feed: 503 Service Unavailable
	// order: 200 OK
	// Run returned <nil>
}

// A worker that an upgrade has replaced may finish its requests for five minutes, and a daemon that
// stops has only ten seconds for them.
func ExampleDrainTimeout() {
	os.Exit(lifecycle.Main(os.Args[1:], nil,
		lifecycle.Supervise(lifecycle.RestartPolicy{}),
		lifecycle.StopTimeout(10*time.Second),
		lifecycle.DrainTimeout(5*time.Minute)))
}
