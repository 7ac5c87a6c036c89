package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// daemon is the program of most tests: a life whose arguments set the behaviour of its hooks. The
// hooks report their calls on stdout.
//
//	daemon [key=value …] verb
//
// The keys are pidfile, mode, name, log, errorlog, workdir, user, chroot, umask, starttimeout,
// stoptimeout, reloadtimeout, stopdelay, draintimeout and nooverlap. The keys check, start,
// reload, stop, exit, run, usr2, ready, every and watchdog set the behaviour of a hook or of fn;
// see behave. The key supervise sets a policy; see parsePolicy. With supervise, the signal of
// usr2 is ALRM. The key interval sets the interval of watchdog. Without a verb, the program
// calls Run, detached if the key detach is present.
var daemon = proctest.Register("daemon", func(args []string) int { return runDaemon(args) })

// runDaemon is the main of the program daemon, with more options.
func runDaemon(args []string, more ...lifecycle.Option) int {
	does := map[string]string{}
	var verbArgs []string
	for _, arg := range args {
		if key, value, found := strings.Cut(arg, "="); found && !strings.HasPrefix(arg, "-") {
			does[key] = value
		} else {
			verbArgs = append(verbArgs, arg)
		}
	}
	opts := []lifecycle.Option{
		lifecycle.Name(cmp.Or(does["name"], "daemon")),
		lifecycle.PIDFile(does["pidfile"]),
		lifecycle.LogFile(does["log"]),
		lifecycle.ErrorLogFile(does["errorlog"]),
		lifecycle.WorkDir(does["workdir"]),
		lifecycle.User(does["user"]),
		lifecycle.Chroot(does["chroot"]),
		lifecycle.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		lifecycle.OnCheck(behave("OnCheck", does["check"])),
		lifecycle.OnStart(behave("OnStart", does["start"])),
		lifecycle.OnReload(behave("OnReload", does["reload"])),
		lifecycle.OnStop(behave("OnStop", does["stop"])),
		lifecycle.OnExit(behave("OnExit", does["exit"])),
	}
	own := syscall.SIGUSR2
	if _, supervised := does["supervise"]; supervised {
		own = syscall.SIGALRM
	}
	opts = append(opts, lifecycle.OnSignal(own, behave("OnSignal", does["usr2"])))
	for key, option := range map[string]func(time.Duration) lifecycle.Option{
		"starttimeout": lifecycle.StartTimeout, "stoptimeout": lifecycle.StopTimeout, "reloadtimeout": lifecycle.ReloadTimeout, "stopdelay": lifecycle.StopDelay,
		"draintimeout": lifecycle.DrainTimeout,
	} {
		if d, err := time.ParseDuration(does[key]); err == nil {
			opts = append(opts, option(d))
		}
	}
	if what, ok := does["ready"]; ok {
		opts = append(opts, lifecycle.ReadyWhen(behave("ReadyWhen", what)))
	}
	if what, ok := does["every"]; ok {
		opts = append(opts, lifecycle.Every(10*time.Millisecond, behave("Every", what)))
	}
	var umask int
	if n, _ := fmt.Sscanf(does["umask"], "%o", &umask); n == 1 {
		opts = append(opts, lifecycle.Umask(umask))
	}
	if _, ok := does["detach"]; ok {
		opts = append(opts, lifecycle.Detach())
	}
	var mode os.FileMode
	if n, _ := fmt.Sscanf(does["mode"], "%o", &mode); n == 1 {
		opts = append(opts, lifecycle.PIDFileMode(mode))
	}
	if n, _ := fmt.Sscanf(does["logmode"], "%o", &mode); n == 1 {
		opts = append(opts, lifecycle.LogFileMode(mode))
	}
	if what, ok := does["reopen"]; ok {
		opts = append(opts, lifecycle.OnReopen(behave("OnReopen", what)))
	}
	fn := behave("fn", cmp.Or(does["run"], "wait"))
	if policy, ok := does["supervise"]; ok {
		opts = append(opts, lifecycle.Supervise(parsePolicy(policy)))
	}
	if what, ok := does["watchdog"]; ok {
		interval, _ := time.ParseDuration(does["interval"])
		opts = append(opts, lifecycle.Watchdog(cmp.Or(interval, 50*time.Millisecond), behave("Watchdog", what)))
	}
	if _, ok := does["nooverlap"]; ok {
		opts = append(opts, lifecycle.NoOverlap())
	}
	opts = append(opts, more...)
	if len(verbArgs) > 0 {
		return lifecycle.Main(verbArgs, fn, opts...)
	}
	err := lifecycle.Run(fn, opts...)
	fmt.Printf("Run returned: %v\n", err)
	return lifecycle.ExitCode(err)
}

// misdeeds are further behaviours of a hook; see hooks_linux_test.go.
var misdeeds = map[string]func(){}

// behave returns a hook. The hook prints "NAME" when it begins and "NAME done" when it returns.
// The argument what selects the behaviour of the hook:
//
//	(nothing)   returns nil
//	error       returns an error
//	panic       panics
//	goexit      calls runtime.Goexit
//	hang        never returns
//	wait        returns the context's error when it ends
//	until:PATH  returns nil when that file exists, even if the context has ended
//	unless:PATH returns an error if that file exists
//	exit:N      ends the process
//	cat:PATH    prints the lines of a file
//	children    prints what a program that it starts inherits
//
// what can also be one of the misdeeds.
func behave(name, what string) func(context.Context) error {
	return func(ctx context.Context) error {
		fmt.Println(name)
		defer fmt.Println(name, "done")
		do, arg, _ := strings.Cut(what, ":")
		switch do {
		case "":
			return nil
		case "error":
			return errors.New(name + " failed on purpose")
		case "panic":
			panic(name + " panics on purpose")
		case "goexit":
			runtime.Goexit()
		case "hang":
			select {}
		case "wait":
			<-ctx.Done()
			return ctx.Err()
		case "until":
			for {
				if _, err := os.Stat(arg); err == nil {
					return nil
				}
				time.Sleep(time.Millisecond)
			}
		case "unless":
			if _, err := os.Stat(arg); err == nil {
				return errors.New(name + " failed on purpose")
			}
			return nil
		case "exit":
			var code int
			fmt.Sscan(arg, &code)
			os.Exit(code)
		case "cat":
			text, err := os.ReadFile(arg)
			fmt.Printf("%s says: %s\n", name, text)
			return err
		case "children":
			cmd := exec.Command("sh", "-c", "echo descriptors: $(ls /proc/self/fd); cat /proc/self/status; env")
			cmd.Stdout = os.Stdout
			return cmd.Run()
		}
		if fault := misdeeds[do]; fault != nil {
			fault()
			return nil
		}
		return fmt.Errorf("no such behaviour: %s", what)
	}
}

// startDaemon starts the program daemon on its own PID file, and waits until it is ready.
func startDaemon(t *testing.T, args ...string) (p *proctest.Process, pidfile string) {
	t.Helper()
	pidfile = proctest.PIDPath(t)
	p = proctest.Start(t, daemon, append([]string{"pidfile=" + pidfile}, args...)...)
	p.Await("msg=ready")
	return p, pidfile
}
