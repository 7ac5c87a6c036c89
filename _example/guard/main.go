// Guard runs any foreground program as a daemon, and restarts it after a crash:
//
//	guard -name flaky start -- python3 flaky.py
//	guard -name flaky status
//	guard -name flaky restart
//	guard -name flaky stop
//
// It detects the end of the program at once, because it is the parent of the program.
//
// Two verbs replace a program by its file on disk. The verb restart ends the program and starts it
// again, and guard too. The verb upgrade replaces guard alone, in its process, and the program runs
// on.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"example.com/lifecycle"
)

func main() {
	name := flag.String("name", "", "`name` of the daemon, its PID file and its log (default: the name of PROGRAM)")
	pidPath := flag.String("pidfile", "", "PID `file`, locked while guard runs (default: guard-NAME.pid in the usual directory)")
	logPath := flag.String("log", "", "log `file` of guard and the program in the background (default: named after -name)")
	user := flag.String("user", "", "run the program as this `user` or user:group")
	dir := flag.String("dir", "", "working `directory` of the program (default: the current one)")
	check := flag.String("check", "", "`command` of sh that checks the configuration before a reload or restart, such as 'nginx -t'")
	ready := flag.String("ready", "", "`command` of sh that succeeds when the program is ready")
	notify := flag.Bool("notify", false, "the program is ready only when it sends READY=1 (sd_notify)")
	stopSignal := signalFlag("stop-signal", "`signal` that stops the program (default TERM)")
	reloadSignal := signalFlag("reload-signal", "`signal` that makes the program reload (default HUP)")
	reopenSignal := signalFlag("reopen-signal", "`signal` that makes the program reopen its log (default none)")
	keepOrphans := flag.Bool("keep-orphans", false, "processes that leave the program's process group outlive it, such as sessions of sshd")
	always := flag.Bool("always", false, "restart the program after a clean exit too")
	limit := flag.Int("limit", 0, "give up after this `number` of crashes in a minute; -1: never give up (default 10)")
	flag.Usage = usage
	flag.Parse()

	args, argv := flag.Args(), []string(nil)
	if at := slices.Index(args, "--"); at >= 0 {
		args, argv = args[:at], args[at+1:]
	}
	policy := lifecycle.RestartPolicy{Always: *always, Limit: *limit}
	var opts []lifecycle.Option
	if len(argv) > 0 {
		policy.Notify, policy.KeepOrphans = *notify, *keepOrphans
		policy.StopSignal, policy.ReloadSignal, policy.ReopenSignal = *stopSignal, *reloadSignal, *reopenSignal
		opts = append(opts, lifecycle.Program(argv...))
		if *name == "" {
			*name = filepath.Base(argv[0])
		}
	} else if len(args) > 0 && (args[0] == "start" || args[0] == "run") {
		// The verb restart needs no program: it uses the program of the running daemon.
		fail("%s: no program given; put it after --, for example: guard -name flaky %[1]s -- python3 flaky.py", args[0])
	}
	if *name == "" {
		fail("no daemon given; name it with -name")
	}
	// Debian's nginx, sshd and others write and remove /run/NAME.pid themselves.
	if *pidPath == "" {
		*pidPath = lifecycle.DefaultPIDFile("guard-" + *name)
	}
	opts = append(opts, lifecycle.Name(*name), lifecycle.Supervise(policy))
	if *check != "" {
		opts = append(opts, lifecycle.OnCheck(shell(*check)))
	}
	if *ready != "" {
		opts = append(opts, lifecycle.ReadyWhen(shell(*ready)))
	}
	for value, option := range map[*string]func(string) lifecycle.Option{
		pidPath: lifecycle.PIDFile, logPath: lifecycle.LogFile, user: lifecycle.User, dir: lifecycle.WorkDir,
	} {
		if *value != "" {
			opts = append(opts, option(*value))
		}
	}
	os.Exit(lifecycle.Main(args, nil, opts...))
}

// shell returns a function that runs a command of sh. Its error contains the output.
func shell(command string) func(context.Context) error {
	return func(ctx context.Context) error {
		cmd := exec.CommandContext(ctx, "sh", "-c", command)
		killsGroup(cmd)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(out))
		}
		return nil
	}
}

// signalFlag defines a flag for the name of a signal, such as USR1. Without the flag, the signal is
// nil.
func signalFlag(name, usage string) *os.Signal {
	var sig os.Signal
	flag.Func(name, usage, func(text string) (err error) {
		sig, err = parseSignal(text)
		return err
	})
	return &sig
}

func usage() {
	fmt.Fprintln(flag.CommandLine.Output(), `usage: guard [flags] start|run|stop|restart|reload|reopen|upgrade|check|status [-- PROGRAM ARGUMENTS]
  restart: ends PROGRAM and guard, and starts both again
  upgrade: replaces guard by its file on disk; PROGRAM runs on`)
	flag.PrintDefaults()
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "guard: "+format+"\n", args...)
	os.Exit(2)
}
