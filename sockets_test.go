package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/socket"
)

// serving is a life that listens where its arguments say, and says to whoever connects which process it is.
//
//	serving [key=value …] [verb]
//
// The keys are pidfile, log, start, ready, detach as those of the program daemon, at=NETWORK,ADDRESS for each socket, and early, late, twice, never for when it listens: before Run, in fn, two
// times in OnStart, or not at all; by default once in OnStart. A reload closes all and listens again, USR2 closes all and OnStop does.
var serving = proctest.Register("serving", func(args []string) int {
	var s server
	does := map[string]string{}
	var verbArgs []string
	for _, arg := range args {
		key, value, found := strings.Cut(arg, "=")
		switch {
		case key == "at":
			s.at = append(s.at, value)
		case found:
			does[key] = value
		default:
			verbArgs = append(verbArgs, arg)
		}
	}
	has := func(key string) bool { _, ok := does[key]; return ok }
	if has("early") {
		if err := s.listen(); err != nil {
			fmt.Println("early:", err)
			return 1
		}
	}
	opts := []Option{
		Name("serving"), PIDFile(does["pidfile"]), LogFile(does["log"]),
		Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		OnStart(func(ctx context.Context) error {
			if has("early") || has("late") || has("never") {
				return behave("OnStart", does["start"])(ctx)
			}
			if has("twice") {
				if err := errors.Join(s.listen(), s.close()); err != nil {
					return err
				}
			}
			return errors.Join(s.listen(), behave("OnStart", does["start"])(ctx))
		}),
		OnReload(func(context.Context) error { return errors.Join(s.close(), s.listen()) }),
		OnStop(func(context.Context) error { return s.close() }),
		OnSignal(syscall.SIGUSR2, func(context.Context) error {
			defer fmt.Println("closed")
			return s.close()
		}),
	}
	if has("detach") {
		opts = append(opts, Detach())
	}
	fn := func(ctx context.Context) error {
		if has("late") {
			if err := s.listen(); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return nil
	}
	if len(verbArgs) > 0 {
		return Main(verbArgs, fn, opts...)
	}
	err := Run(fn, opts...)
	fmt.Printf("Run returned: %v\n", err)
	return ExitCode(err)
})

// server is what the program serving does at its sockets.
type server struct {
	at      []string
	open    []io.Closer
	serving sync.WaitGroup
}

func (s *server) listen() error {
	for _, at := range s.at {
		network, address, _ := strings.Cut(at, ",")
		if strings.HasPrefix(network, "udp") || network == "unixgram" {
			c, err := socket.ListenPacket(network, address)
			if err != nil {
				return err
			}
			s.open = append(s.open, c)
			fmt.Printf("listens %s %s\n", at, c.LocalAddr())
			s.serving.Go(func() { echo(c) })
			continue
		}
		l, err := socket.Listen(network, address)
		if err != nil {
			return err
		}
		s.open = append(s.open, l)
		fmt.Printf("listens %s %s\n", at, l.Addr())
		s.serving.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(c, os.Getpid())
				c.Close()
			}
		})
	}
	return nil
}

func echo(c net.PacketConn) {
	buf := make([]byte, 100)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(fmt.Append(nil, os.Getpid()), from)
	}
}

func (s *server) close() error {
	var errs []error
	for _, c := range s.open {
		errs = append(errs, c.Close())
	}
	s.open = nil
	s.serving.Wait() // Accept has ended
	return errors.Join(errs...)
}

// whoServes is the PID of the process that listens there.
func whoServes(t *testing.T, network, address string) (pid int) {
	t.Helper()
	c, err := net.Dial(network, address)
	require.NoError(t, err)
	defer c.Close()
	text, err := io.ReadAll(c)
	require.NoError(t, err)
	_, err = fmt.Sscan(string(text), &pid)
	require.NoError(t, err)
	return pid
}

// at are the arguments of the program serving that name sockets.
func at(sockets ...string) (args []string) {
	for _, s := range sockets {
		args = append(args, "at="+s)
	}
	return args
}
