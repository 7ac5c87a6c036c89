package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sdnotify"
	"example.com/lifecycle/socket"
)

// atOnce is a policy that starts the next worker without a delay, however often.
const atOnce = "supervise=min:-1ns,limit:-1"

// status is what the daemon says here.
func (b *background) status() (s Status) {
	b.t.Helper()
	got := b.call("status", "--json")
	require.NoError(b.t, json.Unmarshal([]byte(got.stdout), &s), "%s", got.stdout)
	return s
}

// told waits until the daemon says something of itself.
func (b *background) told(what string, enough func(Status) bool) (s Status) {
	b.t.Helper()
	eventually(b.t, func() bool {
		found, err := Find(b.pidfile)
		if err != nil {
			return false
		}
		defer found.Close()
		s, err = found.Status()
		return err == nil && enough(s)
	}, "%s", what)
	return s
}

// worker waits until there is another worker that is ready than that one, and returns its PID.
func (b *background) worker(than int) (pid int) {
	b.t.Helper()
	return b.told("another worker to be ready", func(s Status) bool { return s.Worker != 0 && s.Worker != than && s.Phase == Ready }).Worker
}

func TestAParentHoldsThePIDFileAndItsWorkerLives(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.start(atOnce)
	worker := b.worker(0)
	require.NotEqual(t, parent, worker)
	require.Equal(t, parent, mustLook(t, b.pidfile).PID)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", worker))
	require.NoError(t, err)
	var ppid, pgrp int
	fmt.Sscanf(string(stat[strings.LastIndexByte(string(stat), ')')+2:]), "S %d %d", &ppid, &pgrp)
	require.Equal(t, parent, ppid)
	require.Equal(t, worker, pgrp)
	require.Equal(t, 1, strings.Count(b.said(), "OnStart\n"), "no hook runs in the parent:\n%s", b.said())
	require.Regexp(t, fmt.Sprintf(`^daemon: ready \(pid %d, worker %d\) for \ds\n$`, parent, worker), b.call("status").stdout)
	b.stop()
	for _, once := range []string{"OnStart\n", "fn\n", "fn done", "OnStop\n", "OnExit done"} {
		require.Equal(t, 1, strings.Count(b.said(), once), "%s:\n%s", once, b.said())
	}
}

// Row D11.
func TestAWorkerThatIsKilledIsStartedAgainUnderTheSamePID(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.start(atOnce)
	for n := 1; n <= 5; n++ {
		worker := b.worker(0)
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		b.worker(worker)
		s := b.status()
		require.Equal(t, parent, s.PID)
		require.Equal(t, n, s.Restarts)
		require.Equal(t, "SIGKILL", s.LastExit.Signal)
		require.Equal(t, worker, s.LastExit.PID)
	}
	require.Regexp(t, `^daemon: ready \(pid \d+, worker \d+\) for \ds, 5 restarts, last \ds ago: signal SIGKILL\n$`, b.call("status").stdout)
	b.stop()
}

func TestAWorkerThatFailsItsFirstStartFailsTheStart(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]string{
		"start=error":     "^daemon: start failed: OnStart failed on purpose\n$",
		"start=panic":     "(?s)^daemon: start failed: panic: OnStart panics on purpose\n  \\| goroutine .*",
		"start=exit:3":    "^daemon: start failed: died before it was ready \\(exit 3\\); its last words:\n(  \\| .*\n)*  \\| OnStart\n$",
		"run=error":       "^daemon: start failed: fn failed on purpose\n$",
		"supervise=min:x": "",
	} {
		if want == "" {
			continue
		}
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			b.crashes = true
			got := b.call(atOnce, what, "start")
			require.Regexp(t, want, got.stderr)
			require.NotZero(t, got.code)
			b.requireNothingLeft()
		})
	}
}

func TestTheReloadOfAParentBringsTheVerdictOfTheWorker(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start(atOnce)
	require.Regexp(t, `^daemon: reloaded \(\d+ ms\)\n$`, b.call("reload").stderr)
	require.Contains(t, b.said(), "OnReload done")
	b.stop()

	b = inBackground(t)
	b.start(atOnce, "reload=error")
	for n := 1; n <= 3; n++ {
		got := b.call("reload=error", "reload")
		require.Equal(t, result{"", "daemon: reload rejected, old configuration kept: OnReload failed on purpose\n", 1}, got)
		s := b.status()
		require.Equal(t, n, s.Reloads)
		require.Equal(t, "OnReload failed on purpose", s.LastReload.Error)
		require.Equal(t, "OnReload", s.LastReload.Hook)
	}
	b.stop()
}

// Row H5.
func TestAStopInABackOffWinsAtOnce(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.start("supervise=min:1h,max:1h")
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	s := b.told("a back-off", func(s Status) bool { return !s.NextRestart.IsZero() })
	require.Zero(t, s.Worker)
	require.Equal(t, Starting, s.Phase)
	got := b.call("status")
	require.Equal(t, 0, got.code)
	require.Regexp(t, fmt.Sprintf(`^daemon: restarting \(pid %d\), attempt 1 of 10 in (1h0m0s|\d+m\d+s); last: signal SIGKILL\n$`, parent), got.stdout)
	require.Equal(t, 150, b.call("status", "--ready").code)
	require.Equal(t, 1, b.call("reload").code)
	b.stop()

	p, pidfile := startDaemon(t, "supervise=foreground,min:1h,max:1h", "run")
	p.await("msg=ready", 2)
	b = &background{t: t, pidfile: pidfile}
	require.NoError(t, syscall.Kill(b.worker(0), syscall.SIGKILL))
	b.told("a back-off", func(s Status) bool { return !s.NextRestart.IsZero() })
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait(), "what has crashed before is no failure of the stop:\n%s", p.out)
}

func TestAWorkerThatGoesOnCrashingIsGivenUp(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	b.start("supervise=min:-1ns,limit:3", "run=until:"+gate, "exit=exit:7")
	touch(t, gate)
	eventually(t, func() bool { _, err := Find(b.pidfile); return err != nil }, "it to give up")
	got := b.call("status")
	require.Equal(t, 3, got.code)
	require.Contains(t, got.stdout, "gave up: it has ended 3 times in 60s; last: exit 7")
	require.Contains(t, b.said(), `msg="the worker is not started any more" why="gave up: `)
	require.NoError(t, os.Remove(statePath(b.pidfile)))
}

func TestTheExitCodeOfAStoppedWorkerIsThatOfItsParent(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]int{"stop=": 0, "exit=exit:5": 5, "stop=error": 1, "run=hang": 1} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p, _ := startDaemon(t, "supervise=foreground", "stoptimeout=100ms", what, "run")
			p.signal(syscall.SIGTERM)
			require.Equal(t, want, p.wait(), "%s", p.out)
			require.LessOrEqual(t, p.out.count("daemon: "), 1, "what has failed is said once:\n%s", p.out)
		})
	}
}

func TestASecondInterruptEndsParentAndWorkerAtOnce(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "supervise=foreground", "stop=hang", "run")
	b := &background{t: t, pidfile: pidfile}
	worker := b.worker(0)
	p.signal(syscall.SIGTERM)
	p.await("OnStop")
	p.insist()
	require.Equal(t, 1, p.wait())
	eventually(t, func() bool { return !lives(worker) }, "the worker to be gone")
	require.NoFileExists(t, pidfile)
}

// Rows D10, H9.
func TestAWorkerStopsWithinASecondWhenItsParentIsKilled(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"stop=", "stop=hang", "run=hang", "start=until:"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			if what == "start=until:" {
				what += filepath.Join(t.TempDir(), "gate")
				touch(t, strings.TrimPrefix(what, "start=until:"))
			}
			parent := b.start(atOnce, what)
			worker := b.worker(0)
			require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
			eventually(t, func() bool { return !mustLook(t, b.pidfile).Held }, "the parent to be dead")
			second := b.start(atOnce, what)
			require.False(t, lives(worker), "the next start waits for it")
			require.NotEqual(t, parent, second)
			require.Contains(t, b.said(), "the parent that supervises this worker is gone")
			found, err := Find(b.pidfile)
			require.NoError(t, err)
			defer found.Close()
			require.NoError(t, found.Kill(t.Context()))
			eventually(t, func() bool { return len(b.processes()) == 0 }, "all to be gone")
			require.NoError(t, os.Remove(b.pidfile))
			require.NoError(t, os.Remove(statePath(b.pidfile)))
		})
	}
}

// Row H12.
func TestAWorkerThatHangsIsEndedWithItsTraceAndStartedAgain(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start(atOnce, "watchdog=hang")
	worker := b.worker(0)
	b.worker(worker)
	s := b.status()
	require.Equal(t, 2, s.LastExit.Code, "so Go ends with a trace")
	require.Equal(t, "no sign of life for 100ms", s.LastExit.Why)
	require.Regexp(t, ` \ds ago: exit 2, no sign of life for 100ms`, b.call("status").stdout)
	require.Regexp(t, `(?s)SIGABRT: abort.*\.behave\.`, b.said(), "its trace")
	b.stop()

	b = inBackground(t)
	b.start(atOnce, "watchdog=")
	worker = b.worker(0)
	b.awaitSaid(strings.Repeat("Watchdog\nWatchdog done\n", 10))
	require.Equal(t, worker, b.worker(0), "one that is well is left alone")
	b.stop()
}

// Row H6.
func TestAnExitCodeThatIsFinalIsNotRetried(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, pidfile := startDaemon(t, "supervise=foreground", "run=until:"+gate, "exit=exit:78", "run")
	touch(t, gate)
	require.Equal(t, 78, p.wait())
	p.await("daemon: gave up: exit 78 is final; last: exit 78")
	require.NoError(t, os.Remove(statePath(pidfile)))
}

func TestAParentThatGivesItsWorkerUpExitsWithOne(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, pidfile := startDaemon(t, "supervise=foreground,min:-1ns,limit:2", "run=until:"+gate, "exit=exit:7", "run")
	touch(t, gate)
	require.Equal(t, 1, p.wait(), "%s", p.out)
	p.await("daemon: gave up: it has ended 2 times in 60s; last: exit 7")
	require.NoError(t, os.Remove(statePath(pidfile)))
}

// Row H4.
func TestACleanExitIsTheEndUnlessThePolicySaysAlways(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, _ := startDaemon(t, "supervise=foreground", "run=until:"+gate, "run")
	touch(t, gate)
	require.Equal(t, 0, p.wait())

	b := inBackground(t)
	gate = filepath.Join(t.TempDir(), "gate")
	b.start("supervise=always,min:-1ns,limit:-1", "stoptimeout=50ms", "run=until:"+gate)
	worker := b.worker(0)
	touch(t, gate)
	b.told("a restart", func(s Status) bool { return s.Restarts > 3 })
	require.NoError(t, os.Remove(gate))
	b.worker(worker)
	b.stop()
}

func TestSignalsGoOnToTheWorker(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.start(atOnce)
	require.NoError(t, syscall.Kill(parent, syscall.SIGUSR2))
	b.awaitSaid("OnSignal done")
	require.NoError(t, os.Rename(b.log, b.log+".1"))
	require.Equal(t, 0, b.call("reopen").code)
	require.Equal(t, 0, b.call("reload").code)
	require.Contains(t, b.said(), "OnReload done", "the worker has reopened it")
	require.NotContains(t, b.said(), "OnStart")
	b.stop()
}

func TestUnderRunNothingIsSupervisedUnlessThatIsAskedFor(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "supervise=", "run")
	b := &background{t: t, pidfile: pidfile}
	require.False(t, b.status().Supervised)
	require.Zero(t, b.status().Worker)
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
}

// talker is a worker that says more than Run does, and lets others speak: what it does at a reload is its argument.
var talker = registerProgram("talker", func(args []string) int {
	address := os.Getenv("NOTIFY_SOCKET")
	speak := func(lines ...string) {
		socket, err := sdnotify.Dial(address)
		if err == nil {
			err = socket.Send(lines...)
			socket.Close()
		}
		if err != nil {
			fmt.Println("cannot speak:", err)
		}
	}
	if len(args) > 1 && args[0] == "say" {
		speak(args[2:]...)
		return 0
	}
	does := map[string]string{}
	for len(args) > 1 {
		key, value, _ := strings.Cut(args[0], "=")
		does[key], args = value, args[1:]
	}
	return Main(args, nil, Name("talker"), PIDFile(does["pidfile"]), LogFile(does["log"]), Supervise(parsePolicy("min:-1ns,limit:-1")),
		OnReload(func(context.Context) error {
			switch does["do"] {
			case "flood":
				for n := range 20_000 {
					speak("STATUS=" + strconv.Itoa(n))
				}
			case "garbage":
				speak("")
				speak("\n\n=\n=1\nREADY\nEXTEND_TIMEOUT_USEC=x\nEXTEND_TIMEOUT_USEC=-1\nWATCHDOG=0")
				speak("X_LIFECYCLE_STATE={", "X_LIFECYCLE_FAILURE=[1]", "FDSTORE=1", "FDNAME=nothing", "FDSTOREREMOVE=1")
				speak(strings.Repeat("x", 100_000))
				speak("MAINPID=1")
			case "imposter":
				cmd := exec.Command("/proc/self/exe", "say", "it", "READY=1", "STOPPING=1", "X_LIFECYCLE_ERROR=from a stranger", "STATUS=from a stranger")
				cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+address)
				cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
				return cmd.Run()
			}
			return nil
		}))
})

func TestWhatAWorkerSaysDoesItsParentNoHarm(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"flood", "garbage", "imposter"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			args := func(verb string) []string { return b.args("do="+what, verb) }
			b.readied(callProgram(t, talker, args("start")...))
			before := b.told("it to be ready", func(s Status) bool { return s.Phase == Ready })
			got := callProgram(t, talker, args("reload")...)
			require.Equal(t, 0, got.code, "%s", got.stderr)
			s := b.told("it to be ready", func(s Status) bool { return s.Phase == Ready })
			require.Equal(t, before.Worker, s.Worker)
			require.NotContains(t, s.Text, "stranger")
			require.NotContains(t, b.said(), "cannot speak: write @: ")
			require.NoError(t, syscall.Kill(s.Worker, syscall.SIGKILL))
			b.worker(s.Worker)
			b.stop()
		})
	}
}

// lives says whether there is such a process. A zombie is none.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.HasPrefix(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " Z")
}

func init() {
	misdeeds["orphans"] = func() {
		for range 5 {
			_ = exec.Command("sh", "-c", "sleep 0.01 & ").Run()
		}
	}
}

// What a worker leaves: a child that ignores TERM in a session of its own, and one that heeds it.
const leaves = "setsid sh -c 'trap \"\" TERM; echo stubborn $$; while :; do sleep 0.02; done' & setsid sh -c 'echo meek $$; exec sleep 60' &"

// left waits for what such a worker has left, and returns their PIDs.
func (b *background) left(n int) (pids []int) {
	b.t.Helper()
	eventually(b.t, func() bool {
		pids = nil
		for _, said := range regexp.MustCompile(`(?:stubborn|meek) (\d+)\n`).FindAllStringSubmatch(b.said(), -1) {
			pid, _ := strconv.Atoi(said[1])
			pids = append(pids, pid)
		}
		return len(pids) >= n
	}, "%d orphans", n)
	return pids
}

// Row H8.
func TestWhatAWorkerHasLeftIsEndedBeforeTheNextOneAndAtTheEnd(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard(leaves+" exec sleep 60", "supervise=min:-1ns,settle:20ms", "start"))
	worker := b.worker(0)
	first := b.left(2)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	for _, pid := range first {
		require.False(t, lives(pid), "pid %d", pid)
	}
	require.Contains(t, b.said(), "ends what the worker has left")
	all := b.left(4)
	b.stop()
	for _, pid := range all {
		require.False(t, lives(pid), "pid %d", pid)
	}
}

// Row H7.
func TestAnOrphanThatEndsWhileTheWorkerLivesIsNoZombie(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard("for i in 1 2 3 4 5; do sh -c 'sleep 0.01 & '; done; exec sleep 60", "start"))
	parent := b.status().PID
	eventually(t, func() bool { return len(childrenOf(t, parent)) == 1 }, "nothing but the worker to be left")
	b.stop()
}

// Row J1.
func TestAsProcess1ItSupervisesAndReapsAndStops(t *testing.T) {
	t.Parallel()
	needs(t, "root", "unshare")
	pidfile := pidPath(t)
	cmd := wrapped([]string{"unshare", "-pf", "--mount-proc", "--kill-child"}, daemon, "pidfile="+pidfile, "supervise=min:-1ns", "start=orphans", "run")
	p := launch(t, cmd)
	p.await("msg=ready", 2)
	init := childrenOf(t, p.pid())
	require.Len(t, init, 1)
	pid, err := strconv.Atoi(init[0])
	require.NoError(t, err)
	eventually(t, func() bool { return len(childrenOf(t, pid)) == 1 }, "nothing but the worker to be left")
	worker := childrenOf(t, pid)[0]
	number, err := strconv.Atoi(worker)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(number, syscall.SIGKILL))
	p.await("msg=ready", 3)
	eventually(t, func() bool { c := childrenOf(t, pid); return len(c) == 1 && c[0] != worker }, "another worker and nothing else")
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Equal(t, 0, p.wait(), "%s", p.out)
	require.NoFileExists(t, pidfile)
}

func TestUserIsTheWorkersAndNotItsParents(t *testing.T) {
	t.Parallel()
	needs(t, "root")
	b := inBackground(t)
	require.NoError(t, os.Chmod(filepath.Dir(b.log), 0o755))
	b.readied(b.guard("id -u; id -g; echo $HOME; exec sleep 60", "user=12345:12345", "start"))
	require.Equal(t, 0, uidOf(t, b.status().PID))
	require.Equal(t, 12345, uidOf(t, b.worker(0)))
	b.awaitSaid("12345\n12345\n")
	b.stop()

	b = inBackground(t)
	parent := b.start(atOnce, "user=12345:12345")
	first := b.worker(0)
	require.Equal(t, 0, uidOf(t, parent))
	require.Equal(t, 12345, uidOf(t, first))
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.Equal(t, 12345, uidOf(t, b.worker(first)), "OnStart of the next one has root's rights again")
	require.Equal(t, 0, b.call("reload").code)
	b.stop()
}

// uidOf is the effective user of a process.
func uidOf(t *testing.T, pid int) (uid int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(status), "Uid:")
	_, err = fmt.Sscan(rest, &uid, &uid)
	require.NoError(t, err)
	return uid
}

// Row D10.
func TestAProgramIsKilledWithItsParentAndTheNextStartWorks(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	const stubborn = "trap '' TERM HUP INT; while :; do sleep 0.02; done"
	parent := b.readied(b.guard(stubborn, "start"))
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
	eventually(t, func() bool { return !mustLook(t, b.pidfile).Held && !lives(worker) }, "the program to be killed")
	b.readied(b.guard(stubborn, "stoptimeout=20ms", "start"))
	require.NotEqual(t, worker, b.worker(0))
	b.stop()
}

// listener is a supervised program that answers on a TCP and a unix socket.
var listener = registerProgram("listener", func(args []string) int {
	does := map[string]string{}
	for len(args) > 1 {
		key, value, _ := strings.Cut(args[0], "=")
		does[key], args = value, args[1:]
	}
	var open []net.Listener
	return Main(args, func(ctx context.Context) error {
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
	}, Name("listener"), PIDFile(does["pidfile"]), LogFile(does["log"]), Supervise(parsePolicy("min:-1ns,limit:-1")),
		OnStart(func(context.Context) error {
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
		OnExit(func(context.Context) error { return errors.Join(open[0].Close(), open[1].Close()) }))
})

func TestUnderLoadAKillOfTheWorkerRefusesNoConnection(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	dir := shortDir(t)
	socket, port := filepath.Join(dir, "socket"), filepath.Join(dir, "port")
	b.readied(callProgram(t, listener, b.args("socket="+socket, "port="+port, "start")...))
	address, err := os.ReadFile(port)
	require.NoError(t, err)

	var refused atomic.Pointer[error]
	var connected atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for _, at := range []struct{ network, address string }{{"tcp", string(address)}, {"unix", socket}} {
		for range 2 {
			clients.Go(func() {
				for ctx.Err() == nil {
					conn, err := net.Dial(at.network, at.address)
					if err != nil {
						if !errors.Is(err, syscall.EAGAIN) { // the backlog of a unix socket is full
							refused.Store(&err)
						}
						continue
					}
					connected.Add(1)
					_, _ = io.Copy(io.Discard, conn) // a reset is the death of who had accepted it
					conn.Close()
				}
			})
		}
	}
	worker := b.worker(0)
	for range 10 {
		before := connected.Load()
		eventually(t, func() bool { return connected.Load() > before+50 }, "clients to be answered")
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		worker = b.worker(worker)
	}
	stop()
	clients.Wait()
	if err := refused.Load(); err != nil {
		t.Errorf("refused: %v", *err)
	}
	after, err := os.ReadFile(port)
	require.NoError(t, err)
	require.Equal(t, string(address), string(after), "the same port")
	b.stop()
	_, err = net.Dial("tcp", string(address))
	require.Error(t, err)
}

// Rows H2, H3, I9.
func TestAParentThatCannotForkTriesAgain(t *testing.T) {
	t.Parallel()
	group := cgroup(t, "pids", nil)
	limit := func(max string) { require.NoError(t, os.WriteFile(filepath.Join(group, "pids.max"), []byte(max), 0)) }
	for what, start := range map[string]func(b *background) int{
		"own": func(b *background) int { return b.start("supervise=min:1ms,max:10ms,limit:-1") },
		"foreign": func(b *background) int {
			return b.readied(b.guard("exec sleep 60", "supervise=min:1ms,max:10ms,limit:-1", "start"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			b := inBackground(t)
			parent := start(b)
			worker := b.worker(0)
			require.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(parent)), 0))
			limit("0")
			require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
			b.awaitSaid("resource temporarily unavailable")
			limit("max")
			b.worker(worker)
			require.Equal(t, parent, b.status().PID)
			b.stop()
		})
	}
}

func TestASignalThatComesWhileAWorkerStartsDoesNotEndIt(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.start(atOnce)
	for range 3 {
		worker := b.worker(0)
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		b.told("another worker to be ready", func(s Status) bool {
			require.NoError(t, syscall.Kill(parent, syscall.SIGUSR2))
			return s.Worker != 0 && s.Worker != worker && s.Phase == Ready
		})
	}
	require.Equal(t, 3, b.status().Restarts)
	b.stop()
}

func TestAReloadWhileAWorkerStartsWaitsForIt(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	touch(t, gate)
	b.start(atOnce, "start=until:"+gate)
	worker := b.worker(0)
	require.NoError(t, os.Remove(gate))
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.told("a worker that starts", func(s Status) bool { return s.Restarts == 1 && s.Phase == Starting && s.Worker != 0 })
	reload := start(t, daemon, b.args("reload")...)
	b.told("the reload, which begins with the log", func(s Status) bool { return s.LastReopen != nil })
	require.Equal(t, 150, b.call("status", "--ready").code)
	touch(t, gate)
	require.Equal(t, 0, reload.wait(), "%s", reload.out)
	b.stop()
}

func TestAStopDuringTheFirstStartBringsTheExitCodeOfTheWorker(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	pidfile := pidPath(t)
	p := start(t, daemon, "pidfile="+pidfile, "supervise=foreground", "start=until:"+gate, "exit=exit:5", "run")
	p.await("OnStart")
	p.signal(syscall.SIGTERM)
	p.await("stopping")
	touch(t, gate)
	require.Equal(t, 5, p.wait(), "%s", p.out)
	requireNothingLeft(t, pidfile)
}

// moving is a program that wants another PID file in each process.
var moving = registerProgram("moving", func(args []string) int {
	err := Run(nil, PIDFile(args[0]+strconv.Itoa(os.Getpid())), OnStart(started), Supervise(parsePolicy("foreground")))
	fmt.Println("Run returned:", err)
	return ExitCode(err)
})

func TestAWorkerThatIsToHaveAnotherPIDFileIsNoParentOfItsOwn(t *testing.T) {
	t.Parallel()
	p := start(t, moving, pidPath(t))
	require.Equal(t, 1, p.wait())
	require.Regexp(t, `Run returned: lifecycle: the parent of this process has the PID file ".*", but this process is to have ".*": both must be told the same\n`, p.out.String())
	require.Contains(t, p.out.String(), "died before it was ready (exit 1)")
}
