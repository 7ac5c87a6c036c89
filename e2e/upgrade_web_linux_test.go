package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// freeAddress returns a TCP address of this machine that no process listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// ask sends one request and returns the version that has answered.
func ask(client *http.Client, address, query string) (version string, err error) {
	response, err := client.Get("http://" + address + "/?" + query)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

func newClient(keep bool) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: !keep}}
}

// askAlways sends requests until stop is called. Each must be answered. more waits for that number
// of further answers.
func askAlways(t *testing.T, address string, keep bool) (more func(n int64), stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var answered atomic.Int64
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		client := newClient(keep)
		defer client.CloseIdleConnections()
		for ctx.Err() == nil {
			if _, failed = ask(client, address, ""); failed != nil {
				return
			}
			answered.Add(1)
		}
	}()
	stop = func() {
		t.Helper()
		cancel()
		<-done
		require.NoError(t, failed, "after %d answers", answered.Load())
	}
	more = func(n int64) {
		t.Helper()
		before := answered.Load()
		proctest.Eventually(t, func() bool {
			select {
			case <-done:
				stop()
			default:
			}
			return answered.Load() >= before+n
		}, "more answers")
	}
	return more, stop
}

// Row K18.
func TestNoClientIsRefusedDuringUpgrades(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct {
		args []string
		keep bool // the client keeps its connection
	}{
		"two workers": {nil, false}, "two workers, one connection": {nil, true}, "NoOverlap": {[]string{"nooverlap="}, false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			r := deployed(t, "web="+address)
			s := r.begin(tt.args...)
			more, stop := askAlways(t, address, tt.keep)
			for n := range proctest.Rounds(3, 10, 50) {
				version := fmt.Sprintf("2.%d", n)
				r.install(version, "web="+address)
				s = r.upgraded(s, version)
				got, err := ask(newClient(false), address, "")
				require.NoError(t, err)
				require.Contains(t, []string{version, s.LastUpgrade.OldVersion}, got)
				more(20)
			}
			stop()
			r.stop()
		})
	}
}

// The old worker answers a request in progress within DrainTimeout.
func TestARequestInProgressIsAnsweredByTheOldWorker(t *testing.T) {
	t.Parallel()
	address, gate := freeAddress(t), filepath.Join(t.TempDir(), "gate")
	r := deployed(t, "web="+address)
	s := r.begin()
	slow := make(chan string, 1)
	go func() {
		version, err := ask(newClient(true), address, "until="+gate)
		slow <- fmt.Sprint(version, err)
	}()
	r.awaitSaid("a slow request")
	r.install("2.0", "web="+address)
	after := r.upgraded(s, "2.0")
	require.Len(t, after.Draining, 1)
	proctest.Eventually(t, func() bool {
		version, err := ask(newClient(false), address, "")
		require.NoError(t, err)
		return version == "2.0"
	}, "the new worker to answer")
	require.NoError(t, syscall.Kill(s.Worker, 0), "the old one still works")
	proctest.Touch(t, gate)
	require.Equal(t, "1.0<nil>", <-slow)
	r.requireGone(s.Worker)
	r.stop()
}

func TestARequestThatOutlastsDrainTimeoutIsCut(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	r := deployed(t, "web="+address)
	s := r.begin("draintimeout=1s")
	slow := make(chan error, 1)
	go func() {
		_, err := ask(newClient(true), address, "until=/nowhere/gate")
		slow <- err
	}()
	r.awaitSaid("a slow request")
	r.install("2.0", "web="+address)
	r.upgraded(s, "2.0")
	require.Error(t, <-slow)
	r.requireGone(s.Worker)
	r.told("no worker to drain", func(s lifecycle.Status) bool { return len(s.Draining) == 0 })
	r.stop()
}

// The verb run supervises with RestartPolicy.Foreground.
func TestAnUpgradeInTheForeground(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	r := deployed(t, "web="+address)
	p := proctest.Launch(t, r.command("supervise=foreground", "run"))
	p.Await("msg=ready")
	s := r.ready()
	require.Equal(t, p.PID(), s.PID)
	for n := range 3 {
		version := fmt.Sprintf("2.%d", n)
		r.install(version, "web="+address)
		s = r.upgraded(s, version)
		require.Equal(t, "foreground", s.KeptBy)
		r.requireProgram(s.PID, version)
	}
	p.Signal(syscall.SIGHUP)
	r.told("a reload", func(s lifecycle.Status) bool { return s.Reloads == 1 })
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
	require.Equal(t, 1, strings.Count(p.Out.String(), "msg=stopped"))
}

// The PID does not change. Therefore the manager needs no MAINPID. The next program notifies the
// same manager.
func TestAManagerSeesTheSameProcessAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	address := filepath.Join(proctest.ShortDir(t), "notify")
	manager := proctest.ManagerAt(t, address)
	cmd := r.command("supervise=foreground", "run")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address)
	p := proctest.Launch(t, cmd)
	manager.Await("READY=1")
	s := r.ready()
	require.Equal(t, "manager", s.KeptBy)
	r.install("2.0")
	after := r.upgraded(s, "2.0")
	require.Equal(t, "manager", after.KeptBy)
	require.NotContains(t, strings.Join(manager.Messages(), "\n"), "MAINPID=")
	require.Equal(t, 0, r.call("reload").Code)
	manager.Await("RELOADING=1")
	p.Signal(syscall.SIGTERM)
	manager.Await("STOPPING=1")
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
}

func TestAnUpgradeOfProcess1(t *testing.T) {
	proctest.Needs(t, "root", "unshare")
	t.Parallel()
	address := freeAddress(t)
	r := deployed(t, "web="+address)
	inner := r.command(atOnce, "run")
	cmd := proctest.Wrapped([]string{"unshare", "-pf", "--mount-proc", "--kill-child"}, release)
	cmd.Args = append(cmd.Args[:len(cmd.Args)-1], inner.Args...)
	p := proctest.Launch(t, cmd)
	p.Await("msg=ready")
	s := r.ready()
	for n := range 2 {
		version := fmt.Sprintf("2.%d", n)
		r.install(version, "web="+address)
		require.Equal(t, 0, r.upgrade().Code, "%s", p.Out)
		s = r.ready()
		require.Equal(t, version, s.Version)
		require.Equal(t, "process 1", s.KeptBy)
	}
	require.Equal(t, 0, r.call("stop").Code)
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
}
