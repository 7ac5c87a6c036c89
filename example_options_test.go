package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"example.com/lifecycle"
)

// A function that returns an Option can provide a component for several programs.
func ExampleOption() {
	cache := func(size int) lifecycle.Option {
		return lifecycle.With(lifecycle.Hooks{
			Name:    "cache",
			OnStart: func(context.Context) error { fmt.Println("room for", size); return nil },
			OnExit:  saying("written back"),
		})
	}
	err := lifecycle.Run(nil, cache(100), endWhenReady, lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// room for 100
	// written back
	// <nil>
}

// Messages of the program and its default files begin with the name.
func ExampleName() {
	err := lifecycle.Run(nil, lifecycle.Name("echod"), lifecycle.Embedded(), withoutLog,
		lifecycle.OnStart(func(context.Context) error { return errors.New("no disk") }))
	fmt.Println(err)
	// Output: lifecycle: OnStart of echod: no disk
}

// The verb status shows the version of the program.
func ExampleVersion() {
	pidFile, stop := echodInBackground(lifecycle.Version("1.2"), lifecycle.OnStart(saying("started")))
	defer stop()
	process, err := lifecycle.Find(pidFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer process.Close()
	s, err := process.Status()
	fmt.Println(s.Version, err)
	// Output:
	// started
	// 1.2 <nil>
}

// While the daemon lives, its PID file is locked and contains its PID. At the end, the daemon
// removes the file.
func ExamplePIDFile() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	pidFile := filepath.Join(dir, "echod.pid")
	look := func(context.Context) error {
		text, err := os.ReadFile(pidFile)
		fmt.Println(string(text) == fmt.Sprintln(os.Getpid()))
		return err
	}
	err = lifecycle.Run(look, lifecycle.OnStart(saying("started")), lifecycle.PIDFile(pidFile), withoutLog)
	_, gone := os.Stat(pidFile)
	fmt.Println(err, errors.Is(gone, os.ErrNotExist))
	// Output:
	// started
	// true
	// <nil> true
}

// The file has exactly this mode, with any umask.
func ExamplePIDFileMode() {
	pidFile, stop := echodInBackground(lifecycle.PIDFileMode(0o600))
	defer stop()
	info, err := os.Stat(pidFile)
	if err == nil {
		fmt.Println(info.Mode())
	}
	// Output: -rw-------
}

func ExampleDefaultPIDFile() {
	// The directory is /run for root, and below the home of another user.
	fmt.Println(filepath.Base(lifecycle.DefaultPIDFile("echod")))
	// Output: echod.pid
}

func ExampleDefaultLogFile() {
	// The directory is /var/log for root. For another user the log is beside the PID file.
	fmt.Println(filepath.Base(lifecycle.DefaultLogFile("echod")))
	// Output: echod.log
}

// OnCheck checks the new configuration before anything changes, for a reload and for the verb
// check.
func ExampleOnCheck() {
	check := func(context.Context) error { return errors.New(`echod.json:7: unknown field "lisen"`) }
	code := lifecycle.Main([]string{"check"}, nil, lifecycle.OnCheck(check), lifecycle.Embedded(), withoutLog)
	fmt.Println("exit code", code)
	// Output: exit code 6
}

// OnExit frees resources of the bodies: it runs when all bodies have returned. OnStop runs before
// that.
func ExampleOnExit() {
	serve := func(ctx context.Context) error {
		lifecycle.From(ctx).Stop(nil)
		<-ctx.Done()
		fmt.Println("the last request is answered")
		return nil
	}
	err := lifecycle.Run(serve, lifecycle.OnStart(saying("db connects")), lifecycle.OnExit(saying("db disconnects")),
		lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// db connects
	// the last request is answered
	// db disconnects
	// <nil>
}

// If a reload takes too long, its context ends, and the life continues with the old configuration.
func ExampleReloadTimeout() {
	fetch := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	ask := func(ctx context.Context) error {
		err := lifecycle.From(ctx).Reload(ctx)
		fmt.Println(errors.Is(err, lifecycle.ErrReload), lifecycle.From(ctx).Phase())
		return nil
	}
	err := lifecycle.Run(ask, lifecycle.OnStart(saying("started")), lifecycle.OnReload(fetch),
		lifecycle.ReloadTimeout(20*time.Millisecond), lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// started
	// true ready
	// <nil>
}

// Any function that gets a context of the life can find the life.
func ExampleFrom() {
	step := func(ctx context.Context, text string) {
		lifecycle.From(ctx).SetStatus(text) // the verb status shows the text
		fmt.Println(lifecycle.From(ctx).Phase(), text)
	}
	migrate := func(ctx context.Context) error { step(ctx, "migrating the database"); return nil }
	err := lifecycle.Run(nil, lifecycle.OnStart(migrate), endWhenReady, lifecycle.Embedded(), withoutLog)
	step(context.Background(), "no life: no status shows this")
	fmt.Println(err)
	// Output:
	// starting migrating the database
	// exited no life: no status shows this
	// <nil>
}

// A program that watches its configuration file can request a reload. Reload returns the verdict.
func ExampleLife_Reload() {
	watch := func(ctx context.Context) error {
		if err := lifecycle.From(ctx).Reload(ctx); err != nil {
			fmt.Println("kept the old one:", err)
		}
		return nil
	}
	load := func(context.Context) error { return errors.New("no echod.json") }
	err := lifecycle.Run(watch, lifecycle.OnReload(load), lifecycle.Name("echod"), lifecycle.Embedded(), withoutLog)
	fmt.Println(err)
	// Output:
	// kept the old one: lifecycle: OnReload of echod: no echod.json
	// <nil>
}

// The verdict of the last reload stays in the state file, so other processes can read it later.
func ExampleVerdict() {
	pidFile, stop := echodInBackground(lifecycle.OnStart(saying("started")),
		lifecycle.With(lifecycle.Hooks{Name: "tls", OnReload: saying("tls has the new certificate")}),
		lifecycle.With(lifecycle.Hooks{Name: "db", OnReload: func(context.Context) error { return errors.New("no password") }}))
	defer stop()
	process, err := lifecycle.Find(pidFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer process.Close()
	_ = process.Reload(context.Background())
	if s, err := process.Status(); err == nil && s.LastReload != nil {
		v := s.LastReload
		fmt.Printf("%s of %s: %s; already reloaded: %v\n", v.Hook, v.Component, v.Error, v.Applied)
	}
	// Output:
	// started
	// tls has the new certificate
	// OnReload of db: no password; already reloaded: [tls]
}

// A caller that needs to know whether a daemon runs calls Find, and closes the Process.
func ExampleProcess() {
	pidFile, stop := echodInBackground()
	defer stop()
	process, err := lifecycle.Find(pidFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer process.Close()
	fmt.Println(process.PID == os.Getpid())
	// Output: true
}

// Reopen opens a rotated log again, here after mv. A daemon in the foreground has no log to reopen,
// and logs this.
func ExampleProcess_Reopen() {
	pidFile, stop := echodInBackground(lifecycle.OnStart(saying("started")))
	defer stop()
	process, err := lifecycle.Find(pidFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer process.Close()
	fmt.Println(process.Reopen(context.Background()))
	// Output:
	// started
	// <nil>
}

// Wait returns when the daemon has ended, for any reason.
func ExampleProcess_Wait() {
	process, err := lifecycle.Find("/run/echod.pid")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer process.Close()
	fmt.Println("gone:", process.Wait(context.Background()) == nil)
}

// The daemon has its own log, working directory, umask and user.
func ExampleLogFile() {
	os.Exit(lifecycle.Main(os.Args[1:], nil,
		lifecycle.Name("echod"),
		lifecycle.LogFile("/var/log/echod/echod.log"),    // logrotate calls echod reopen
		lifecycle.ErrorLogFile("/var/log/echod/err.log"), // only stderr
		lifecycle.LogFileMode(0o600),
		lifecycle.Umask(0o027)))
}

// Only OnStart runs as root, to open the port. All later hooks and bodies run as the user.
func ExampleUser() {
	os.Exit(lifecycle.Main(os.Args[1:], nil,
		lifecycle.Name("echod"),
		lifecycle.User("echod"),
		lifecycle.Chroot("/var/lib/echod")))
}

// The check acquires the lock that every request acquires. If the check hangs, systemd with
// WatchdogSec= restarts the program.
func ExampleWatchdog() {
	var mu sync.Mutex
	alive := func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		return nil
	}
	err := lifecycle.Run(nil, lifecycle.Watchdog(10*time.Second, alive))
	os.Exit(lifecycle.ExitCode(err))
}

// After a crash the program runs again after a tenth of a second, and the sockets of socket.Listen
// stay open meanwhile. An exit with 78 means that the configuration is wrong, so a restart is
// useless.
func ExampleSupervise() {
	os.Exit(lifecycle.Main(os.Args[1:], nil,
		lifecycle.OnStart(func(context.Context) error {
			if _, err := os.Stat("/etc/echod.json"); err != nil {
				return lifecycle.WithExitCode(err, 78)
			}
			return nil
		}),
		lifecycle.Supervise(lifecycle.RestartPolicy{})))
}

// A program without this library gets a PID file, a log, every verb, and restarts.
func ExampleProgram() {
	os.Exit(lifecycle.Main(os.Args[1:], nil,
		lifecycle.Name("flaky"),
		lifecycle.Program("python3", "flaky.py"),
		lifecycle.Supervise(lifecycle.RestartPolicy{Always: true, MinDelay: time.Second})))
}
