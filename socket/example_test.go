package socket_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"example.com/lifecycle"
	"example.com/lifecycle/socket"
)

// The listener is the socket of a systemd socket unit, if a unit has this address. Otherwise Listen
// binds a new socket.
func ExampleListen() {
	var listener net.Listener
	serve := func(context.Context) error {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		fmt.Println("connected to", listener.Addr().Network())
		return conn.Close()
	}
	err := lifecycle.Run(serve,
		lifecycle.OnStart(func(context.Context) (err error) {
			listener, err = socket.Listen("tcp", "127.0.0.1:0")
			return err
		}),
		lifecycle.OnExit(func(context.Context) error { return listener.Close() }),
		lifecycle.Embedded(), lifecycle.Logger(slog.New(slog.DiscardHandler)))
	fmt.Println(err)
	// Output:
	// connected to tcp
	// <nil>
}

func ExampleListenPacket() {
	conn, err := socket.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	if _, err := conn.WriteTo([]byte("hello"), conn.LocalAddr()); err != nil {
		panic(err)
	}
	buf := make([]byte, 16)
	n, _, err := conn.ReadFrom(buf)
	fmt.Println(string(buf[:n]), err)
	// Output: hello <nil>
}

// A worker keeps its counters in an open file. The next worker continues with them, even after a
// crash.
func ExampleStore() {
	var counters *os.File
	onStart := func(context.Context) (err error) {
		if stored := socket.Stored("counters"); len(stored) > 0 {
			counters = stored[0]
			return nil
		}
		if counters, err = os.CreateTemp("", "counters"); err != nil {
			return err
		}
		if err := socket.Store("counters", counters); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		fmt.Println("no next worker, so the counters end with this one")
		return nil
	}
	err := lifecycle.Run(func(context.Context) error { return nil },
		lifecycle.OnStart(onStart),
		lifecycle.OnExit(func(context.Context) error { return errors.Join(counters.Close(), os.Remove(counters.Name())) }),
		lifecycle.Embedded(), lifecycle.Logger(slog.New(slog.DiscardHandler)))
	fmt.Println(err)
	// Output:
	// no next worker, so the counters end with this one
	// <nil>
}
