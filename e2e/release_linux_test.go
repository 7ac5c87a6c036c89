package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/socket"
)

// release is a release of the program daemon. Its version is the name of the directory of its
// executable. A file named "does" in that directory contains further arguments, one per line:
//
//	init=exit:N, main=exit:N, main=hang  ends or hangs before Run
//	nosupervise                          has no Supervise
//	web=ADDRESS                          answers requests with its version, see web
//	http=, https=, lines=ADDRESS         the same, see servers
var release = proctest.Register("release", func(args []string) int {
	args = append(args, releaseDoes()...)
	does := map[string]string{}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		does[key] = value
	}
	if code, ends := endsInMain(does["main"]); ends {
		return code
	}
	if _, without := does["nosupervise"]; without {
		args = slices.DeleteFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "supervise=") || arg == "nosupervise" })
	}
	more := []lifecycle.Option{lifecycle.Version(releaseVersion())}
	if address, ok := does["web"]; ok {
		more = append(more, lifecycle.With(web(address)))
	}
	more = append(more, servers(does)...)
	return runDaemon(args, more...)
})

// endsInMain ends or hangs before Run if a release does so.
func endsInMain(what string) (code int, ends bool) {
	switch do, number, _ := strings.Cut(what, ":"); do {
	case "exit":
		fmt.Sscan(number, &code)
		fmt.Fprintln(os.Stderr, "main ends on purpose")
		return code, true
	case "hang":
		fmt.Println("main hangs")
		select {}
	}
	return 0, false
}

func releaseVersion() string { return filepath.Base(filepath.Dir(proctest.Binary())) }

// releaseDoes returns the lines of the file "does" of this release.
func releaseDoes() []string {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(proctest.Binary()), "does"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// A release may end in init. This init function runs after those of the library.
func init() {
	if os.Getenv(proctest.Variable) == "release" && slices.Contains(releaseDoes(), "init=exit:5") {
		fmt.Fprintln(os.Stderr, "init ends on purpose")
		os.Exit(5)
	}
}

// web returns a component that answers requests with the version of the release. A request for
// /slow is answered when the file in its query exists.
func web(address string) lifecycle.Hooks {
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gate := r.URL.Query().Get("until"); gate != "" {
			fmt.Println("a slow request")
			_ = behave("request", "until:"+gate)(r.Context())
		}
		fmt.Fprint(w, releaseVersion())
	})}
	var listener net.Listener
	served, busy := make(chan struct{}), new(connections)
	srv.ConnState = busy.changed
	return lifecycle.Hooks{
		Name: "web",
		// Shutdown drops a connection that Serve has accepted and not read yet. So the drain comes first.
		OnStop: func(ctx context.Context) error {
			listener.Close()
			<-served // from now on, Serve accepts no other connection
			srv.SetKeepAlivesEnabled(false)
			busy.await(ctx)
			return srv.Shutdown(ctx)
		},
		OnStart: func(ctx context.Context) (err error) {
			listener, err = socket.Listen("tcp", address)
			srv.BaseContext = func(net.Listener) context.Context { return lifecycle.From(ctx).Grace() }
			return err
		},
		Run: func(ctx context.Context) error {
			defer close(served)
			err := srv.Serve(listener)
			if ctx.Err() != nil {
				return nil
			}
			return err
		},
	}
}

// connections counts the connections of a server that are neither idle nor closed.
type connections struct {
	mu   sync.Mutex
	busy map[net.Conn]bool
}

func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy == nil {
		c.busy = map[net.Conn]bool{}
	}
	switch state {
	case http.StateNew, http.StateActive:
		c.busy[conn] = true
	default:
		delete(c.busy, conn)
	}
}

// await waits until no connection is busy, or until ctx ends.
func (c *connections) await(ctx context.Context) {
	for ctx.Err() == nil {
		c.mu.Lock()
		n := len(c.busy)
		c.mu.Unlock()
		if n == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// releases is a directory with releases, and a link to the current one.
type releases struct {
	*background
	dir     string
	program string // release or guardRelease
}

// deployed returns releases. The current one is 1.0.
func deployed(t *testing.T, does ...string) *releases {
	t.Helper()
	r := &releases{inBackground(t), t.TempDir(), release}
	r.install("1.0", does...)
	return r
}

// install installs a release and makes it the current one.
func (r *releases) install(version string, does ...string) {
	r.t.Helper()
	dir := filepath.Join(r.dir, version)
	require.NoError(r.t, os.MkdirAll(dir, 0o755))
	program := filepath.Join(dir, "program")
	if os.Link(proctest.Binary(), program) != nil {
		require.NoError(r.t, exec.Command("cp", proctest.Binary(), program).Run())
	}
	require.NoError(r.t, os.WriteFile(filepath.Join(dir, "does"), []byte(strings.Join(does, "\n")), 0o644))
	r.flip(version)
}

// flip makes an installed release the current one.
func (r *releases) flip(version string) {
	r.t.Helper()
	link := filepath.Join(r.dir, "next")
	require.NoError(r.t, os.Symlink(version, link))
	require.NoError(r.t, os.Rename(link, filepath.Join(r.dir, "current")))
}

// command returns the command that runs the current release.
func (r *releases) command(args ...string) *exec.Cmd {
	cmd := proctest.Command(r.program, r.args(args...)...)
	cmd.Path = filepath.Join(r.dir, "current", "program")
	cmd.Args[0] = cmd.Path
	return cmd
}

// begin starts the current release in the background and returns its status.
func (r *releases) begin(args ...string) lifecycle.Status {
	r.t.Helper()
	r.readied(proctest.CallCommand(r.t, r.command(slices.Concat([]string{atOnce}, args, []string{"start"})...)))
	return r.ready()
}

// ready waits until the daemon is ready.
func (r *releases) ready() lifecycle.Status {
	r.t.Helper()
	return r.told("it to be ready", func(s lifecycle.Status) bool { return s.Phase == lifecycle.Ready && s.Worker != 0 })
}

// upgrade calls the verb, which is not the one of the release.
func (r *releases) upgrade() proctest.Result {
	r.t.Helper()
	return r.call("upgrade")
}

// upgraded requires that the verb reports an upgrade to that version, from the worker in the status
// before. upgraded returns the status after the upgrade.
func (r *releases) upgraded(before lifecycle.Status, version string) lifecycle.Status {
	r.t.Helper()
	got := r.upgrade()
	require.Equal(r.t, 0, got.Code, "%s%s", got.Stderr, r.said())
	after := r.ready()
	require.Regexp(r.t, fmt.Sprintf(`^daemon: upgraded \(pid %d, worker %d → %d, %s → %s, [\d.]+ m?s\)(, old one drains.*)?\n$`,
		before.PID, before.Worker, after.Worker, before.WorkerVersion, version), got.Stderr)
	require.Equal(r.t, before.PID, after.PID)
	require.Equal(r.t, version, after.WorkerVersion)
	require.Equal(r.t, version, after.Version, "the supervisor runs the new program too")
	return after
}

// requireProgram requires that a process runs that release, and that the kernel shows it.
func (r *releases) requireProgram(pid int, version string) {
	r.t.Helper()
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	require.NoError(r.t, err)
	require.Equal(r.t, filepath.Join(r.dir, version, "program"), exe)
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	require.NoError(r.t, err)
	require.Equal(r.t, filepath.Join(r.dir, "current", "program"), strings.Split(string(cmdline), "\x00")[0])
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	require.NoError(r.t, err)
	require.Equal(r.t, "program\n", string(comm))
}

// requireGone waits until no process has that PID as a child of the daemon.
func (r *releases) requireGone(pid int) {
	r.t.Helper()
	proctest.Eventually(r.t, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH }, "worker %d to end", pid)
}
