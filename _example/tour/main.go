// Tour builds echod in a temporary directory, starts it and calls every verb, step by step. It
// prints each command as a user would type it, and the answer:
//
//	go run ./_example/tour
//
// It checks every answer and exits with 1 if one is wrong. At the end, it stops echod and removes
// the directory.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// SIGPIPE is included, because `tour | head` must also clean up.
	ctx, stop := signal.NotifyContext(context.Background(),
		os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := tour(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(1)
	}
}

// Each step begins in the state in which the previous step ended. An error ends the tour. The shell
// records a wrong answer and continues.
var steps = []struct {
	title string
	do    func(*shell) error
}{
	{"A failed start prints the reason and leaves nothing behind. Here another process uses the port.", startInVain},
	{"Start echod. The command returns when echod is ready, not earlier. The kernel picks the port; the log shows it.", start},
	{"Send HTTP requests to echod.", ask},
	{"Only one echod can run: a second start is refused and prints the PID of the first.", startTwice},
	{"Edit the configuration, check it, and reload the running echod.", reload},
	{"A mistake is refused with file, line and field. echod keeps the whole old configuration.", reloadMistake},
	{"echod refuses a reload that changes its address. The file itself is valid: check does not ask the daemon, and passes.", reloadAddress},
	{"Ask for the status. The lock on the PID file, not the number in it, proves that echod runs. echod itself reports what it does.", status},
	{"Rotate the log. echod writes all further records to a new file.", rotate},
	{"kill -9 prevents any cleanup: the PID file stays, but the kernel releases its lock.", kill},
	{"The next start takes over the stale PID file.", startAgain},
	{"Restart echod. It checks the configuration first, so a mistake stops nothing.", restart},
	{"Stop echod during a request. echod accepts no new request, but answers this one.", stop},
	{"No echod runs any more, and the exit codes tell this to a script.", gone},
}

func startInVain(sh *shell) error {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer taken.Close()
	sh.write("echod.json", fmt.Sprintf(`{
	"listen":   %q,
	"greeting": "hello",
	"level":    "info"
}
`, taken.Addr()))
	sh.echod("start", 1, fmt.Sprintf("echod: start failed: http: listen tcp %s: bind: address already in use\n", taken.Addr()))
	sh.echod("status", 3, fmt.Sprintf("echod: not running; failed 0s ago: http: listen tcp %s: bind: address already in use (exit 1)\n", taken.Addr()))
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	sh.edit("echod.json", "1:"+port, "1:0")
	return nil
}

func start(sh *shell) error { return sh.start() }

func ask(sh *shell) error {
	sh.get("/", "hello\n")
	sh.post("/echo", "world", "hello, world\n")
	return nil
}

func startTwice(sh *shell) error {
	sh.echod("start", 1, fmt.Sprintf("echod: already running (pid %d)\n", sh.pid()))
	return nil
}

func reload(sh *shell) error {
	sh.edit("echod.json", "hello", "bonjour")
	sh.echod("check", 0, "echod: check passed\n")
	sh.echod("reload", 0, "echod: reloaded (")
	sh.log("msg=reloaded")
	sh.get("/", "bonjour\n")
	return nil
}

func reloadMistake(sh *shell) error {
	mistake := "config: " + sh.path("echod.json") + `:4: field "level": "loud" is not one of debug, info, warn, error`
	sh.edit("echod.json", "bonjour", "salve", "info", "loud")
	sh.echod("check", 6, "echod: check failed: "+mistake+"\n")
	sh.echod("reload", 1, "echod: reload rejected, old configuration kept: "+mistake+"\n")
	sh.log("level=ERROR", "reload rejected", mistake)
	sh.get("/", "bonjour\n")
	return nil
}

func reloadAddress(sh *shell) error {
	sh.edit("echod.json", "loud", "info", "1:0", "1:8080")
	sh.echod("check", 0, "echod: check passed\n")
	mistake := "config: " + sh.path("echod.json") + `:2: field "listen": cannot change from 127.0.0.1:0 to 127.0.0.1:8080 on reload; restart echod`
	sh.echod("reload", 1, "echod: reload rejected, old configuration kept: "+mistake+"\n")
	sh.log("level=ERROR", "reload rejected", mistake)
	sh.get("/", "bonjour\n")
	return nil
}

func status(sh *shell) error {
	sh.echod("status", 0, fmt.Sprintf("echod: ready (pid %d) for ", sh.pid()))
	sh.echod("status --ready", 0, "echod: ready")
	sh.echod("status --json", 0, "{\n")
	return nil
}

func kill(sh *shell) error {
	pid := sh.pid()
	if err := sh.kill9(); err != nil {
		return err
	}
	sh.cat("echod.pid", fmt.Sprintf("%d\n", pid))
	sh.echod("status", 1, fmt.Sprintf("echod: dead: pid %d left ", pid))
	return nil
}

func startAgain(sh *shell) error {
	sh.edit("echod.json", "1:8080", "1:0") // port 8080 may be in use
	if err := sh.start(); err != nil {
		return err
	}
	sh.cat("echod.pid", fmt.Sprintf("%d\n", sh.pid()))
	sh.get("/", "salve\n")
	return nil
}

func rotate(sh *shell) error {
	sh.move("echod.log", "echod.log.1")
	sh.echod("reopen", 0, fmt.Sprintf("echod: log reopened (pid %d)\n", sh.pid()))
	sh.log("log reopened")
	return nil
}

func restart(sh *shell) error {
	old := sh.pid()
	sh.echod("restart", 0, fmt.Sprintf("echod: check passed\nechod: stopped (pid %d, ", old))
	if err := sh.find(); err != nil {
		return err
	}
	if sh.pid() == old {
		sh.fail("restart: pid %d still runs", old)
	}
	sh.get("/", "salve\n")
	return nil
}

func stop(sh *shell) error {
	request, err := sh.hold("/echo")
	if err != nil {
		return err
	}
	pid := sh.pid()
	stopped := sh.background("stop")
	sh.log("msg=stopping")
	sh.refused("/")
	request.finish("world", "salve, world\n")
	stopped(0, fmt.Sprintf("echod: stopped (pid %d, ", pid))
	sh.log("msg=stopped")
	return nil
}

func gone(sh *shell) error {
	sh.missing("echod.pid")
	sh.echod("status", 3, "echod: not running (nobody holds ")
	sh.echod("stop", 7, "echod: not running (nobody holds ")
	return nil
}
