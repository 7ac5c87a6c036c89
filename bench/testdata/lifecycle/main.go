// Command lifecycle PIDFILE SOCKET VERB serves on the socket.
package main

import (
	"context"
	"net"
	"os"

	"example.com/lifecycle"
)

func main() {
	var l net.Listener
	os.Exit(lifecycle.Main(os.Args[3:],
		func(ctx context.Context) error {
			for {
				conn, err := l.Accept()
				if err != nil {
					return ctx.Err()
				}
				conn.Close()
			}
		},
		lifecycle.PIDFile(os.Args[1]),
		lifecycle.LogFile(""),
		lifecycle.OnStart(func(context.Context) (err error) {
			l, err = net.Listen("unix", os.Args[2])
			return err
		}),
		lifecycle.OnStop(func(context.Context) error { return l.Close() })))
}
