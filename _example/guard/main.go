// Guard keeps any foreground program alive, and runs it as a daemon:
//
//	guard -name flaky start -- python3 flaky.py
//	guard -name flaky status
//	guard -name flaky stop
//
// It notices the end of the program at once. It does not search the process list for a name every
// few seconds.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"example.com/lifecycle"
)

func main() {
	name := flag.String("name", "", "`name` of the daemon, for its PID file and log; default: that of the program")
	pidPath := flag.String("pidfile", "", "`file` that is locked while the guard runs; default: after the name")
	logPath := flag.String("log", "", "`file` to which the program and its guard write in the background; default: after the name")
	user := flag.String("user", "", "`user` or user:group that the program becomes")
	dir := flag.String("dir", "", "working `directory` of the program; default: this one")
	always := flag.Bool("always", false, "start it again after a clean exit too")
	limit := flag.Int("limit", 0, "give up after so many crashes in a minute; -1: never (default 10)")
	flag.Usage = usage
	flag.Parse()

	args, argv := flag.Args(), []string(nil)
	if at := slices.Index(args, "--"); at >= 0 {
		args, argv = args[:at], args[at+1:]
	}
	opts := []lifecycle.Option{lifecycle.Supervise(lifecycle.RestartPolicy{Always: *always, Limit: *limit})}
	if len(argv) > 0 {
		opts = append(opts, lifecycle.Program(argv...))
		if *name == "" {
			*name = filepath.Base(argv[0])
		}
	} else if len(args) > 0 && slices.Contains([]string{"start", "run", "restart", "try-restart"}, args[0]) {
		fail("%s: which program? It goes behind --, as in: guard -name flaky %[1]s -- python3 flaky.py", args[0])
	}
	if *name == "" {
		fail("which one? Give its -name")
	}
	opts = append(opts, lifecycle.Name(*name))
	for value, option := range map[*string]func(string) lifecycle.Option{
		pidPath: lifecycle.PIDFile, logPath: lifecycle.LogFile, user: lifecycle.User, dir: lifecycle.WorkDir,
	} {
		if *value != "" {
			opts = append(opts, option(*value))
		}
	}
	os.Exit(lifecycle.Main(args, nil, opts...))
}

func usage() {
	fmt.Fprintln(flag.CommandLine.Output(), "usage: guard [flags] start|run|stop|restart|reload|reopen|check|status [-- PROGRAM ARGUMENTS]")
	flag.PrintDefaults()
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "guard: "+format+"\n", args...)
	os.Exit(2)
}
