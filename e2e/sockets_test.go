package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/socket"
)

// serving is a life that listens at the addresses in its arguments, and sends its PID to each
// client.
//
//	serving [key=value …] [verb]
//
// The keys pidfile, log, start, ready and detach are the same as in the program daemon.
// at=NETWORK,ADDRESS names a socket and may be given many times. early, late, twice and never
// select when serving listens: before Run, in fn, twice in OnStart, or not at all. By default it
// listens once, in OnStart. A reload closes all sockets and listens again. USR2 and OnStop close
// all sockets.
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
	opts := []lifecycle.Option{
		lifecycle.Name("serving"), lifecycle.PIDFile(does["pidfile"]), lifecycle.LogFile(does["log"]),
		lifecycle.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		lifecycle.OnStart(func(ctx context.Context) error {
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
		lifecycle.OnReload(func(context.Context) error { return errors.Join(s.close(), s.listen()) }),
		lifecycle.OnStop(func(context.Context) error { return s.close() }),
		lifecycle.OnSignal(syscall.SIGUSR2, func(context.Context) error {
			defer fmt.Println("closed")
			return s.close()
		}),
	}
	if has("detach") {
		opts = append(opts, lifecycle.Detach())
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
		return lifecycle.Main(verbArgs, fn, opts...)
	}
	err := lifecycle.Run(fn, opts...)
	fmt.Printf("Run returned: %v\n", err)
	return lifecycle.ExitCode(err)
})

// server accepts the clients of the program serving.
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

// whoServes connects to the address and returns the PID that the server sends.
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

// listensAt returns the last address that the program serving has reported for that argument.
func listensAt(t *testing.T, p *proctest.Process, at string) (address string) {
	t.Helper()
	for line := range strings.Lines(p.Out.String()) {
		if rest, ok := strings.CutPrefix(line, "listens "+at+" "); ok {
			address = strings.TrimSpace(rest)
		}
	}
	require.NotEmpty(t, address, "%s", p.Out)
	return address
}

// at returns the arguments of the program serving for these sockets.
func at(sockets ...string) (args []string) {
	for _, s := range sockets {
		args = append(args, "at="+s)
	}
	return args
}

// A program that detaches and calls Listen before Run would listen in the launcher.
func TestListenBeforeRunInAProgramThatDetachesIsAnErrorWithAdvice(t *testing.T) {
	t.Parallel()
	const says = `lifecycle: Listen\(tcp, 127\.0\.0\.1:0\) at sockets_test\.go:\d+ was called before Run in a program that detaches or supervises itself: call it in OnStart`
	b := inBackground(t)
	early := b.args(slices.Concat(at("tcp,127.0.0.1:0"), []string{"early="})...)
	got := proctest.Call(t, serving, append(early, "detach=")...)
	require.Regexp(t, `Run returned: `+says+"\n", got.Stdout)
	require.Equal(t, 1, got.Code)
	got = proctest.Call(t, serving, append(early, "start")...)
	require.Regexp(t, `^serving: start failed: `+strings.TrimPrefix(says, "lifecycle: ")+"\n$", got.Stderr)
	require.Equal(t, 1, got.Code)

	pid := b.start()
	got = proctest.Call(t, serving, append(early, "restart")...)
	require.Regexp(t, `^serving: start failed: `+strings.TrimPrefix(says, "lifecycle: ")+"\n$", got.Stderr)
	requireRunning(t, b.pidfile, pid)
	b.stop()

	p := proctest.Start(t, serving, append(early, "run")...)
	p.Await("msg=ready")
	require.Equal(t, p.PID(), whoServes(t, "tcp", listensAt(t, p, "tcp,127.0.0.1:0")))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
}

func TestADetachedDaemonListens(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	path := filepath.Join(proctest.ShortDir(t), "s")
	pid := b.readied(proctest.Call(t, serving, b.args("at=unix,"+path, "start")...))
	require.Equal(t, pid, whoServes(t, "unix", path))
	b.stop()
	require.NoFileExists(t, path)
}

func TestAReloadCanCloseASocketAndListenAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(proctest.ShortDir(t), "s")
	p := proctest.Start(t, serving, "pidfile="+proctest.PIDPath(t), "at=unix,"+path, "at=tcp,127.0.0.1:0")
	p.Await("msg=ready")
	require.Equal(t, p.PID(), whoServes(t, "unix", path))
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	require.Equal(t, p.PID(), whoServes(t, "unix", path))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	require.NoFileExists(t, path)
	require.Equal(t, 4, p.Out.Count("listens "))
}
