// Subject is a daemon that waits, fails or hangs as its flags request. Package conformance tests
// with it.
package main

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"example.com/lifecycle"
)

func main() {
	pidFile := flag.String("pidfile", "", "its PID file")
	startWhen := flag.String("start-when", "", "OnStart returns when this `file` is there")
	reloadWhen := flag.String("reload-when", "", "OnReload returns when this `file` is there")
	stopWhen := flag.String("stop-when", "", "OnStop returns when this `file` is there")
	refuse := flag.String("refuse-if", "", "OnReload fails where this `file` is there")
	hang := flag.String("hang-if", "", "the check of the watchdog never returns where this `file` is there")
	need := flag.String("need", "", "OnStart opens this `file`")
	child := flag.Bool("child", false, "OnStart starts a program, and OnExit ends it")
	flag.Parse()
	slog.SetDefault(slog.New(lifecycle.StderrHandler(nil)))

	opts := []lifecycle.Option{
		lifecycle.Name("subject"),
		lifecycle.PIDFile(*pidFile),
		lifecycle.LogFile(""),
		lifecycle.Watchdog(100*time.Millisecond, func(context.Context) error {
			if exists(*hang) {
				select {}
			}
			return nil
		}),
		lifecycle.With(lifecycle.Hooks{
			Name: "gates",
			OnStart: func(ctx context.Context) error {
				slog.Warn("two\nlines")
				if *need != "" {
					f, err := os.Open(*need)
					if err != nil {
						return err
					}
					f.Close()
				}
				return await(ctx, *startWhen)
			},
			OnReload: func(ctx context.Context) error {
				if exists(*refuse) {
					return errors.New("refused on purpose")
				}
				return await(ctx, *reloadWhen)
			},
			OnStop: func(ctx context.Context) error { return await(ctx, *stopWhen) },
		}),
	}
	if *child {
		opts = append(opts, lifecycle.With(withChild()))
	}
	os.Exit(lifecycle.Main(flag.Args(), nil, opts...))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return path != "" && !errors.Is(err, fs.ErrNotExist)
}

func await(ctx context.Context, path string) error {
	for path != "" && !exists(path) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

func withChild() lifecycle.Hooks {
	cmd := exec.Command("sleep", "1000")
	return lifecycle.Hooks{
		Name:    "child",
		OnStart: func(context.Context) error { return cmd.Start() },
		OnExit: func(context.Context) error {
			_ = cmd.Process.Kill() // it may have ended already
			_ = cmd.Wait()
			return nil
		},
	}
}
