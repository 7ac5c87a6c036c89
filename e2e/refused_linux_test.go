package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/socket"
)

// listener is a supervised program that answers on a TCP and a unix socket. On WINCH its worker
// calls the verb restart.
var listener = proctest.Register("listener", func(args []string) int {
	does, all := map[string]string{}, args
	for len(args) > 1 {
		key, value, _ := strings.Cut(args[0], "=")
		does[key], args = value, args[1:]
	}
	var open []net.Listener
	return lifecycle.Main(args, func(ctx context.Context) error {
		for _, l := range open {
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					fmt.Fprintln(conn, os.Getpid())
					conn.Close()
				}
			}()
		}
		<-ctx.Done()
		return nil
	}, lifecycle.Name("listener"), lifecycle.PIDFile(does["pidfile"]), lifecycle.LogFile(does["log"]), lifecycle.Supervise(parsePolicy("min:-1ns,limit:-1")),
		lifecycle.OnStart(func(context.Context) error {
			for _, at := range []struct{ network, address string }{{"tcp", "127.0.0.1:0"}, {"unix", does["socket"]}} {
				l, err := socket.Listen(at.network, at.address)
				if err != nil {
					return err
				}
				open = append(open, l)
				if at.network == "tcp" {
					if err := os.WriteFile(does["port"], []byte(l.Addr().String()), 0o644); err != nil {
						return err
					}
				}
			}
			return nil
		}),
		lifecycle.OnSignal(syscall.SIGWINCH, func(context.Context) error {
			return exec.Command("/proc/self/exe", append(all[:len(all)-1:len(all)-1], "restart")...).Start()
		}),
		lifecycle.OnExit(func(context.Context) error { return errors.Join(open[0].Close(), open[1].Close()) }))
})

// clients connect to a listener all the time.
type clients struct {
	t                  *testing.T
	address            string // of the TCP socket
	port               string // file that contains it
	running            sync.WaitGroup
	stop               context.CancelFunc
	connected, refused atomic.Int64
	last               atomic.Pointer[error]
}

// listenerClients returns the arguments of a listener, and its clients, which have not begun.
func listenerClients(t *testing.T) (args []string, c *clients) {
	dir := proctest.ShortDir(t)
	c = &clients{t: t, port: filepath.Join(dir, "port")}
	return []string{"socket=" + filepath.Join(dir, "socket"), "port=" + c.port}, c
}

func (c *clients) begin() {
	c.t.Helper()
	address, err := os.ReadFile(c.port)
	require.NoError(c.t, err)
	c.address = string(address)
	ctx, stop := context.WithCancel(c.t.Context())
	c.stop = stop
	for network, at := range map[string]string{"tcp": c.address, "unix": filepath.Join(filepath.Dir(c.port), "socket")} {
		for range 2 {
			c.running.Go(func() {
				for ctx.Err() == nil {
					conn, err := net.Dial(network, at)
					switch {
					case errors.Is(err, syscall.EAGAIN): // the backlog of a unix socket is full
						continue
					case err != nil:
						c.refused.Add(1)
						c.last.Store(&err)
						continue
					}
					c.connected.Add(1)
					_, _ = io.Copy(io.Discard, conn) // a reset: the accepting process has ended
					conn.Close()
				}
			})
		}
	}
}

// someMore waits until clients were answered again.
func (c *clients) someMore() {
	c.t.Helper()
	before := c.connected.Load()
	proctest.Eventually(c.t, func() bool { return c.connected.Load() > before+50 }, "clients to be answered")
}

// end requires that no connection was refused, and that the listener has kept its port.
func (c *clients) end() {
	c.t.Helper()
	c.stop()
	c.running.Wait()
	c.t.Logf("%d connections, %d refused", c.connected.Load(), c.refused.Load())
	if err := c.last.Load(); err != nil {
		c.t.Errorf("%d of %d connections refused: %v", c.refused.Load(), c.refused.Load()+c.connected.Load(), *err)
	}
	after, err := os.ReadFile(c.port)
	require.NoError(c.t, err)
	require.Equal(c.t, c.address, string(after), "the next worker listens on the same port")
}

func TestUnderLoadAKillOfTheWorkerRefusesNoConnection(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	args, c := listenerClients(t)
	b.readied(proctest.Call(t, listener, b.args(append(args, "start")...)...))
	c.begin()
	worker := b.worker(0)
	for range 10 {
		c.someMore()
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		worker = b.worker(worker)
	}
	c.end()
	b.stop()
	_, err := net.Dial("tcp", c.address)
	require.Error(t, err)
}

// A restart that the worker asks for replaces the worker and keeps the supervisor.
func TestUnderLoadARestartFromInsideRefusesNoConnection(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	args, c := listenerClients(t)
	supervisor := b.readied(proctest.Call(t, listener, b.args(append(args, "start")...)...))
	c.begin()
	worker := b.worker(0)
	for range 10 {
		c.someMore()
		b.told("it to be ready", func(s lifecycle.Status) bool { return s.Phase == lifecycle.Ready && s.Worker == worker })
		require.NoError(t, syscall.Kill(supervisor, syscall.SIGWINCH))
		worker = b.worker(worker)
	}
	c.someMore()
	c.end()
	require.Equal(t, supervisor, b.status().PID)
	require.Equal(t, 10, strings.Count(b.said(), "a restart was requested"))
	b.stop()
}

// The verb restart replaces the worker of a supervisor that is process 1 of a container.
func TestUnderLoadARestartOfProcess1RefusesNoConnection(t *testing.T) {
	proctest.Needs(t, "root", "unshare")
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	args, c := listenerClients(t)
	args = append([]string{"pidfile=" + pidfile}, args...)
	p := proctest.Launch(t, proctest.Wrapped([]string{"unshare", "-pf", "--mount-proc", "--kill-child"}, listener, append(args, "run")...))
	p.Await("INFO ready")
	c.begin()
	for range 10 {
		c.someMore()
		got := proctest.Call(t, listener, append(args, "restart")...)
		require.Equal(t, 0, got.Code, got.Stderr)
		require.Regexp(t, `^listener: restarted \(pid \d+, worker \d+ → \d+, .*\)\n$`, got.Stderr)
	}
	c.someMore()
	c.end()
	require.Equal(t, 0, proctest.Call(t, listener, append(args, "stop")...).Code)
	require.Equal(t, 0, p.Wait())
}
