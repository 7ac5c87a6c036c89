// Echod is a small HTTP service with a configuration file, and all that belongs to running one: it is there once or not
// at all, starts or says why not, takes a new configuration without a restart, and stops without losing a request.
//
//	echod -config echod.json start
//	echod status
//	echod stop
package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"example.com/lifecycle"
)

func main() {
	configPath := flag.String("config", "echod.json", "`file` to read the configuration from")
	pidPath := flag.String("pidfile", lifecycle.DefaultPIDFile("echod"), "`file` that is locked while echod runs, and holds its PID")
	logPath := flag.String("log", lifecycle.DefaultLogFile("echod"), "`file` to append the log to in the background; in the foreground it goes to stderr")
	flag.Usage = usage
	flag.Parse()

	config, err := filepath.Abs(*configPath) // in the background echod works in another directory
	if err != nil {
		fmt.Fprintln(os.Stderr, "echod:", err)
		os.Exit(1)
	}
	_, opts := echod(config, os.Stderr)
	os.Exit(lifecycle.Main(flag.Args(), nil, append(opts,
		lifecycle.PIDFile(*pidPath),
		lifecycle.LogFile(*logPath),
	)...))
}

// echod puts the program together, for main and for its tests. Nothing is opened, and no address taken, before its hooks are called.
func echod(configPath string, log io.Writer) (*server, []lifecycle.Option) {
	level := new(slog.LevelVar) // one variable for all loggers, so a reload can change it
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level}))
	conf := &configFile{path: configPath, level: level}
	srv := &server{conf: conf, logger: logger}

	return srv, []lifecycle.Option{
		lifecycle.Name("echod"),
		lifecycle.Logger(logger),
		lifecycle.CleanErrors(http.ErrServerClosed),

		// Started in this order, stopped in reverse.
		lifecycle.With(lifecycle.Hooks{
			Name:     "config",
			OnCheck:  conf.check,
			OnStart:  conf.start,
			OnReload: conf.reload,
		}),
		lifecycle.With(lifecycle.Hooks{
			Name:    "http",
			OnStart: srv.listen,
			Run:     srv.serve,
			OnStop:  srv.drain,
			OnExit:  srv.close,
		}),
	}
}

func usage() {
	fmt.Fprintln(flag.CommandLine.Output(), "usage: echod [flags] start|run|stop|restart|reload|reopen|check|status")
	flag.PrintDefaults()
}
