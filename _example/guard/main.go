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
	name := flag.String("name", "", "`name` of the daemon, its PID file and its log (default: the name of PROGRAM)")
	pidPath := flag.String("pidfile", "", "PID `file`, locked while guard runs (default: named after -name)")
	logPath := flag.String("log", "", "log `file` of guard and the program in the background (default: named after -name)")
	user := flag.String("user", "", "run the program as this `user` or user:group")
	dir := flag.String("dir", "", "working `directory` of the program (default: the current one)")
	always := flag.Bool("always", false, "restart the program after a clean exit too")
	limit := flag.Int("limit", 0, "give up after this `number` of crashes in a minute; -1: never give up (default 10)")
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
		fail("%s: no program given; put it after --, for example: guard -name flaky %[1]s -- python3 flaky.py", args[0])
	}
	if *name == "" {
		fail("no daemon given; name it with -name")
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
