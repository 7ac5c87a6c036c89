// Echod is a small HTTP service with a configuration file. It shows what a service needs: only one
// instance runs, a failed start reports the reason, a new configuration needs no restart, and a
// stop loses no request.
//
//	echod -config echod.json start
//	echod status
//	echod stop
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"example.com/lifecycle"
)

func main() {
	configPath := flag.String("config", "echod.json", "`file` to read the configuration from")
	pidPath := flag.String("pidfile", lifecycle.DefaultPIDFile("echod"), "PID `file`, locked while echod runs")
	logPath := flag.String("log", lifecycle.DefaultLogFile("echod"), "log `file` in the background; in the foreground, echod logs to stderr")
	stopDelay := flag.Duration("stop-delay", 0, "`time` for which echod reports not ready before it stops, for a load balancer to notice")
	flag.Usage = usage
	flag.Parse()

	config, err := filepath.Abs(*configPath) // echod may change its directory
	if err != nil {
		fmt.Fprintln(os.Stderr, "echod:", err)
		os.Exit(1)
	}
	slog.SetDefault(slog.New(lifecycle.StderrHandler(&level)))
	_, opts := echod(config, nil, level.Set)
	os.Exit(lifecycle.Main(flag.Args(), nil, append(opts,
		lifecycle.PIDFile(*pidPath),
		lifecycle.LogFile(*logPath),
		lifecycle.StopDelay(*stopDelay),
	)...))
}

// level is the level of the default logger. That logger writes to stderr, in the format of the
// journal if stderr is the journal.
var level slog.LevelVar

// echod returns the server and the options of the program, for main and for the tests. A nil logger
// means the default logger. echod opens no file and no address: the hooks do.
func echod(configPath string, logger *slog.Logger, setLevel func(slog.Level)) (*server, []lifecycle.Option) {
	conf := &configFile{path: configPath, setLevel: setLevel}
	srv := &server{conf: conf, logger: logger}

	return srv, []lifecycle.Option{
		lifecycle.Name("echod"),
		lifecycle.Logger(logger),
		lifecycle.CleanErrors(http.ErrServerClosed),

		// Components start in this order and stop in reverse order.
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
