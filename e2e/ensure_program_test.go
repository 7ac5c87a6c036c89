package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// ensuring is a program that calls Ensure for the program daemon, and reports the result:
//
//	ensuring HOW pidfile=PATH [key=value …]
//
//	once         calls Ensure
//	many:N       calls it N times at the same time
//	until:PATH   calls it with a context that ends when that file exists
//	within:D     calls it with a context that ends after that time
//	orphan:PATH  calls it, ends the daemon, makes that file, and waits until it has no child
//	rounds:N     calls it and Stop, N times, and then reports what remains in this process
//	without      calls it without PID file
//	wrong        calls it with wrong options
//	elsewhere    calls it with another PID file for the daemon
//
// The keys are the keys of the program daemon, and some keys for failing daemons. With db=CODE, the
// component db fails to start, with that exit code. If orphan=PATH is also set, the component
// leaves a program that ends when that file exists. With fails=1, the daemon also fails to start.
var ensuring = proctest.Register("ensuring", func(args []string) int {
	if lifecycle.InDaemon() {
		return ensured(args)
	}
	do, arg, _ := strings.Cut(args[0], ":")
	n, _ := strconv.Atoi(arg)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	fmt.Println("calls Ensure")
	switch do {
	case "many":
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() { sayEnsured(lifecycle.Ensure(ctx, ensureOptions(args[1:])...)) })
		}
		wg.Wait()
		return 0
	case "until":
		go func() {
			_ = behave("the file", do+":"+arg)(ctx)
			cancel(errEnough)
		}()
	case "within":
		d, _ := time.ParseDuration(arg)
		within, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		ctx = within
	case "orphan":
		if p, err := lifecycle.Ensure(ctx, ensureOptions(args[1:])...); err == nil {
			_ = p.Stop(ctx)
			p.Close()
		}
		if err := os.WriteFile(arg, nil, 0o600); err != nil {
			fmt.Println(err)
			return 1
		}
		for deadline := time.Now().Add(3 * time.Second); len(ensureChildren(os.Getpid())) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				fmt.Println("children:", ensureChildren(os.Getpid()))
				return 1
			}
		}
		return 0
	case "rounds":
		return ensureRounds(n, args[1:])
	case "without":
		return sayEnsured(lifecycle.Ensure(ctx, lifecycle.PIDFile(""), lifecycle.LogFile("")))
	case "wrong":
		return sayEnsured(lifecycle.Ensure(ctx, lifecycle.Name("a/b"), lifecycle.Umask(-1), lifecycle.LogFile("/dev/stderr")))
	case "elsewhere":
		return sayEnsured(lifecycle.Ensure(ctx, append(ensureOptions(args[1:]), lifecycle.Args(args[1]+".other", "start"))...))
	}
	return sayEnsured(lifecycle.Ensure(ctx, ensureOptions(args[1:])...))
})

// ensured runs as the daemon.
func ensured(args []string) int {
	for _, arg := range args {
		if text, ok := strings.CutPrefix(arg, "db="); ok {
			code, _ := strconv.Atoi(text)
			return lifecycle.Main([]string{"start"}, nil, append(ensureOptions(args), lifecycle.With(lifecycle.Hooks{
				Name:    "db",
				OnStart: func(context.Context) error { return lifecycle.WithExitCode(errors.New("no disk"), code) },
			}))...)
		}
	}
	if at := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "orphan=") }); at >= 0 {
		return lifecycle.Main([]string{"start"}, nil, append(ensureOptions(args), lifecycle.OnStart(func(context.Context) error {
			script := `(while [ ! -e "$0" ] && [ -d "${0%/*}" ]; do sleep 0.01; done) </dev/null >/dev/null 2>&1 &`
			err := exec.Command("sh", "-c", script, strings.TrimPrefix(args[at], "orphan=")).Run()
			if slices.Contains(args, "fails=1") {
				err = errors.Join(err, errEnough)
			}
			return err
		}))...)
	}
	return proctest.RunAs(daemon, args)
}

func ensureOptions(args []string) []lifecycle.Option {
	opts := []lifecycle.Option{lifecycle.Name("daemon"), lifecycle.LogFile(""), lifecycle.Args(append(slices.Clone(args), "start")...)}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		d, _ := time.ParseDuration(value)
		switch key {
		case "pidfile":
			opts = append(opts, lifecycle.PIDFile(value))
		case "log":
			opts = append(opts, lifecycle.LogFile(value))
		case "starttimeout":
			opts = append(opts, lifecycle.StartTimeout(d))
		case "stoptimeout":
			opts = append(opts, lifecycle.StopTimeout(d))
		case "impatience": // a limit of the caller only
			opts = append(opts, lifecycle.StartTimeout(d), lifecycle.StopTimeout(d))
		}
	}
	return opts
}

// sayEnsured reports all results of Ensure, in one write.
func sayEnsured(p *lifecycle.Process, err error) (exitCode int) {
	if err == nil {
		s, statusErr := p.Status()
		fmt.Printf("has pid %d, %s, %v\n", p.PID, s.Phase, statusErr)
		p.Close()
		return 0
	}
	text := fmt.Sprintf("error: %v\n", err)
	var hook *lifecycle.HookError
	if errors.As(err, &hook) {
		text += fmt.Sprintf("hook: %s of %s\n", hook.Hook, hook.Component)
	}
	var panicked *lifecycle.PanicError
	if errors.As(err, &panicked) {
		text += fmt.Sprintf("panic: %v, with a stack: %v\n", panicked.Value, strings.Contains(string(panicked.Stack), "behave"))
	}
	for name, target := range map[string]error{
		"enough": errEnough, "DeadlineExceeded": context.DeadlineExceeded, "ErrStartTimeout": lifecycle.ErrStartTimeout, "ErrStopTimeout": lifecycle.ErrStopTimeout, "ErrAlreadyRunning": lifecycle.ErrAlreadyRunning,
	} {
		if errors.Is(err, target) {
			text += "is: " + name + "\n"
		}
	}
	fmt.Print(text)
	return lifecycle.ExitCode(err)
}

// ensureRounds starts and stops daemons, and then waits until the process looks as before.
func ensureRounds(n int, args []string) int {
	before := -1
	for i := range n {
		for _, failing := range []string{"start=", "start=error", "start=exit:3", "start=wait"} {
			ctx, cancel := context.WithCancelCause(context.Background())
			if failing == "start=wait" {
				cancel(errEnough)
			}
			p, err := lifecycle.Ensure(ctx, ensureOptions(append(slices.Clone(args), failing))...)
			cancel(nil)
			switch {
			case failing != "start=" && err == nil:
				fmt.Println("a start succeeded that should not:", failing)
				return 1
			case failing != "start=":
			case err != nil:
				fmt.Println("round", i, err)
				return 1
			default:
				if err := errors.Join(p.Stop(context.Background()), p.Close()); err != nil {
					fmt.Println("round", i, err)
					return 1
				}
			}
		}
		if i == 0 { // descriptors that are opened once, such as the poller, stay
			_, goroutines := ensureLeft(0)
			before, _ = ensureLeft(goroutines)
		}
	}
	if after, _ := ensureLeft(before); after > before {
		fmt.Printf("%d descriptors, goroutines and children at first, %d at last\n", before, after)
		return 1
	}
	fmt.Println("nothing is left")
	return 0
}

// ensureLeft counts the descriptors, goroutines and children (zombies too) of this process. It
// repeats that until there are at most want of them, or until the counts do not change for a while.
func ensureLeft(want int) (all, goroutines int) {
	same := 0
	for last := -1; same < 100; time.Sleep(time.Millisecond) {
		descriptors, _ := os.ReadDir("/proc/self/fd")
		goroutines = runtime.NumGoroutine()
		all = len(descriptors) + goroutines + len(ensureChildren(os.Getpid()))
		if all <= want {
			return all, goroutines
		}
		if same++; all != last {
			same, last = 0, all
		}
	}
	return all, goroutines
}

// ensureChildren returns the children of a process as "PID state", including zombies.
func ensureChildren(parent int) (children []string) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		stat, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		if err != nil {
			continue
		}
		// See proc_pid_stat(5).
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			children = append(children, entry.Name()+" "+fields[0])
		}
	}
	return children
}

func ensureProgram(t *testing.T, how, pidfile string, args ...string) *proctest.Process {
	t.Helper()
	return proctest.Start(t, ensuring, append([]string{how, "pidfile=" + pidfile}, args...)...)
}

func callEnsure(t *testing.T, how, pidfile string, args ...string) (code int, says string) {
	t.Helper()
	p := ensureProgram(t, how, pidfile, args...)
	code = p.Wait()
	return code, strings.TrimPrefix(p.Out.String(), "calls Ensure\n")
}

const ensureReady = `(?m)^has pid (\d+), ready, <nil>$`
