// Agentctl remembers values, as ssh-agent remembers keys. A daemon keeps the values. The first
// command starts the daemon, and later commands find it.
//
//	agentctl set colour red
//	agentctl get colour
//	agentctl daemon status
//	agentctl daemon stop
//
// The program has commands of its own, and starts a daemon only when it needs one: see ensure in
// client.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"example.com/lifecycle"
)

func main() {
	dir := flag.String("dir", filepath.Dir(lifecycle.DefaultPIDFile("agentd")), "`directory` of the daemon's files")
	flag.Usage = usage
	flag.Parse()
	abs, err := filepath.Abs(*dir) // the daemon has another working directory
	if err == nil {
		err = command(agent{dir: abs}, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "agentctl:", err)
		if errors.Is(err, errUsage) {
			usage()
			os.Exit(2)
		}
		os.Exit(1)
	}
}

var errUsage = errors.New("no such command")

func command(a agent, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) > 0 && args[0] == "daemon":
		os.Exit(lifecycle.Main(args[1:], nil, a.options()...))
		return nil
	case len(args) == 3 && args[0] == "set":
		return a.set(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "get":
		value, err := a.get(ctx, args[1])
		if err == nil {
			fmt.Println(value)
		}
		return err
	}
	return errUsage
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `usage: agentctl [-dir directory] command
  set KEY VALUE   remember a value
  get KEY         print it
  daemon VERB     start, stop, status, … the daemon; set and get start it if it does not run
`)
}
