// Command lifecycle PIDFILE SOCKET VERB [supervise] serves the socket. With "supervise", it has a
// supervisor.
package main

import (
	"context"
	"net"
	"os"
	"time"

	"example.com/lifecycle"
)

func main() {
	var l net.Listener
	opts := []lifecycle.Option{
		lifecycle.PIDFile(os.Args[1]),
		lifecycle.LogFile(""),
		lifecycle.OnStart(func(context.Context) (err error) {
			time.AfterFunc(5*time.Minute, func() { os.Exit(0) }) // in case it is not stopped
			l, err = net.Listen("unix", os.Args[2])
			return err
		}),
		lifecycle.OnStop(func(context.Context) error { return l.Close() }),
	}
	if len(os.Args) > 4 {
		opts = append(opts, lifecycle.Supervise(lifecycle.RestartPolicy{}))
	}
	os.Exit(lifecycle.Main(os.Args[3:4],
		func(ctx context.Context) error {
			for {
				conn, err := l.Accept()
				if err != nil {
					return ctx.Err()
				}
				conn.Close()
			}
		},
		opts...))
}
