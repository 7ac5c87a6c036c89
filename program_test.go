package lifecycle

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

	"example.com/lifecycle/internal/proctest"
)

func TestMain(m *testing.M) { proctest.Main(m, InDaemon()) }

// daemon is the program of most tests: a life whose hooks do what its arguments say, and say so on stdout.
//
//	daemon [key=value …] verb
//
// The keys are pidfile, mode, name, log, errorlog, workdir, user, umask, starttimeout, stoptimeout, reloadtimeout, stopdelay, and check, start, reload,
// stop, exit, run, usr2, ready, every, watchdog for what the hook or fn does; see behave; supervise for a policy; see parsePolicy. Without verb it is Run, detached if the key detach is there.
var daemon = proctest.Register("daemon", func(args []string) int {
	does := map[string]string{}
	var verbArgs []string
	for _, arg := range args {
		if key, value, found := strings.Cut(arg, "="); found && !strings.HasPrefix(arg, "-") {
			does[key] = value
		} else {
			verbArgs = append(verbArgs, arg)
		}
	}
	opts := []Option{
		Name(cmp.Or(does["name"], "daemon")),
		PIDFile(does["pidfile"]),
		LogFile(does["log"]),
		ErrorLogFile(does["errorlog"]),
		WorkDir(does["workdir"]),
		User(does["user"]),
		Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		OnCheck(behave("OnCheck", does["check"])),
		OnStart(behave("OnStart", does["start"])),
		OnReload(behave("OnReload", does["reload"])),
		OnStop(behave("OnStop", does["stop"])),
		OnExit(behave("OnExit", does["exit"])),
		OnSignal(syscall.SIGUSR2, behave("OnSignal", does["usr2"])),
	}
	for key, option := range map[string]func(time.Duration) Option{
		"starttimeout": StartTimeout, "stoptimeout": StopTimeout, "reloadtimeout": ReloadTimeout, "stopdelay": StopDelay,
	} {
		if d, err := time.ParseDuration(does[key]); err == nil {
			opts = append(opts, option(d))
		}
	}
	if what, ok := does["ready"]; ok {
		opts = append(opts, ReadyWhen(behave("ReadyWhen", what)))
	}
	if what, ok := does["every"]; ok {
		opts = append(opts, Every(10*time.Millisecond, behave("Every", what)))
	}
	var umask int
	if n, _ := fmt.Sscanf(does["umask"], "%o", &umask); n == 1 {
		opts = append(opts, Umask(umask))
	}
	if _, ok := does["detach"]; ok {
		opts = append(opts, Detach())
	}
	var mode os.FileMode
	if n, _ := fmt.Sscanf(does["mode"], "%o", &mode); n == 1 {
		opts = append(opts, PIDFileMode(mode))
	}
	fn := behave("fn", cmp.Or(does["run"], "wait"))
	if policy, ok := does["supervise"]; ok {
		opts = append(opts, Supervise(parsePolicy(policy)))
	}
	if what, ok := does["watchdog"]; ok {
		opts = append(opts, Watchdog(50*time.Millisecond, behave("Watchdog", what)))
	}
	if len(verbArgs) > 0 {
		return Main(verbArgs, fn, opts...)
	}
	err := Run(fn, opts...)
	fmt.Printf("Run returned: %v\n", err)
	return ExitCode(err)
})

// misdeeds are more of what a hook can do; see hooks_linux_test.go.
var misdeeds = map[string]func(){}

// behave is a hook that says "NAME" when it begins and "NAME done" when it returns, and in between:
//
//	(nothing)   returns nil
//	error       returns an error
//	panic       panics
//	goexit      calls runtime.Goexit
//	hang        never returns
//	wait        returns the context's error when it ends
//	until:PATH  returns nil when that file exists, whatever the context
//	exit:N      ends the process
//	cat:PATH    prints the lines of a file
//	children    prints what a program that it starts inherits
//
// or is one of the misdeeds.
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
