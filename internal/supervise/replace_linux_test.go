package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/sdnotify"
	"example.com/lifecycle/internal/sys/worker"
)

func TestMain(m *testing.M) {
	if in := worker.Inherited(); in != nil {
		os.Exit(work(in))
	}
	if os.Getenv(helperVariable) != "" {
		os.Exit(supervisor())
	}
	os.Exit(m.Run())
}

// work is all code that a worker runs. Its behaviour depends on the name of its program.
func work(in *worker.Handoff) int {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 1
	}
	name := filepath.Base(exe)
	lost := in.Take()
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	switch name {
	case "dies":
		fmt.Fprintln(os.Stderr, "no configuration")
		return 3
	case "hangs":
		signal.Ignore(syscall.SIGTERM)
		<-lost
		return 1
	case "silent":
	default:
		if err := in.Hello(Hello{Protocol: 1, Version: name, Supervises: true}); err != nil {
			return 1
		}
	}
	switch name {
	case "waits":
		awaitFile(exe+".go", terminated)
	case "spawns": // starts a process outside its group, its session and its parent
		if err := exec.Command("sh", "-c", `setsid sleep 1000 & echo $! > "$0"`, exe+".child").Run(); err != nil {
			return 1
		}
	}
	in.OnAsk(func(state json.RawMessage) error {
		if name == "refuses" {
			return errors.New("cannot read " + string(state))
		}
		return nil
	})
	if err := tellManager("READY=1\nSTATUS=serves " + name); err != nil {
		return 1
	}
	if name == "collapses" {
		return 4
	}
	select {
	case <-in.Replaced():
		if name == "lingers" {
			<-lost
		}
		return 0
	case <-terminated:
		return 0
	case <-lost:
		return 1
	}
}

// awaitFile waits until a file at that path exists, or the process receives a stop signal.
func awaitFile(path string, terminated <-chan os.Signal) {
	for {
		select {
		case <-terminated:
			os.Exit(0)
		case <-time.After(time.Millisecond):
		}
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
}

func tellManager(text string) error {
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(text))
	return err
}

// program returns the path of a copy of this program with that name.
func program(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	text, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o700))
	return path
}

// running is a supervisor whose worker is ready.
type running struct {
	*Supervisor
	t      *testing.T
	stop   context.CancelFunc
	result chan error

	mu     sync.Mutex
	events []Event
}

func run(t *testing.T, change func(*Spec)) *running {
	t.Helper()
	r := &running{t: t, result: make(chan error, 1)}
	spec := testSpec(slog.New(slog.NewTextHandler(t.Output(), nil)))
	spec.On = r.happened
	if change != nil {
		change(&spec)
	}
	r.Supervisor = New(spec)
	require.NoError(t, r.Start(t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.result <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = r.Stop()
		r.Close()
	})
	return r
}

func (r *running) happened(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *running) pid() int { return r.last.Load().PID }

// await waits for an event of type E for which match returns true, and returns the event.
func await[E Event](r *running, match func(E) bool) (found E) {
	r.t.Helper()
	proctest.Eventually(r.t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.ContainsFunc(r.events, func(e Event) bool {
			var ok bool
			found, ok = e.(E)
			return ok && match(found)
		})
	}, "a %T", found)
	return found
}

func (r *running) requireServing(pid int) {
	r.t.Helper()
	require.Equal(r.t, pid, r.pid())
	require.NoError(r.t, syscall.Kill(pid, 0))
	r.Supervisor.mu.Lock()
	defer r.Supervisor.mu.Unlock()
	require.True(r.t, r.last.Load().isUp())
	require.Equal(r.t, serving, r.upgrade.state)
}

func TestAnUpgradeReplacesTheWorkerAndTheOldOneDrains(t *testing.T) {
	r := run(t, nil)
	old := r.pid()
	done, err := r.Upgrade(t.Context(), UpgradeSpec{
		Path:  program(t, "v2"),
		Check: func(h Hello) error { require.True(t, h.Supervises); return nil },
		State: func() (json.RawMessage, error) { return json.RawMessage(`"state"`), nil },
	})
	require.NoError(t, err)
	require.Equal(t, Replaced{Old: old, New: r.pid(), Version: "v2", Took: done.Took}, done)
	r.requireServing(done.New)
	drained := await(r, func(d Drained) bool { return d.PID == old })
	require.Zero(t, drained.Exit.Code, "the old worker got the message and was not killed")
	await(r, func(s Said) bool { return s.PID == 0 && s.Text != nil && *s.Text == "serves v2" })
	require.NoError(t, syscall.Kill(done.New, syscall.SIGKILL))
	started := await(r, func(s Started) bool { return s.PID != old && s.PID != done.New })
	require.Equal(t, 1, started.Restarts, "an upgrade does not count as a restart")
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", started.PID))
	require.NoError(t, err)
	require.Equal(t, "v2", filepath.Base(exe), "the next worker runs the new program too")
}

func TestAFailedUpgradeChangesNothing(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte("just a text, longer than a header\n"), 0o700))
	script := filepath.Join(dir, "script")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700))
	unset := filepath.Join(dir, "unset")
	require.NoError(t, os.WriteFile(unset, []byte("\x7fELF"), 0o600))
	other := filepath.Join(dir, "other")
	elf, err := headOf("/proc/self/exe")
	require.NoError(t, err)
	elf[18]++
	require.NoError(t, os.WriteFile(other, elf, 0o700))
	r := run(t, func(s *Spec) { s.StartLimit = 2 * time.Second; s.StopTimeout = time.Second })
	old := r.pid()
	for what, tt := range map[string]struct {
		path  string
		check error
		want  string
	}{
		"missing":              {path: filepath.Join(dir, "none"), want: "no such file or directory"},
		"a directory":          {path: dir, want: "is a directory"},
		"not executable":       {path: unset, want: "permission denied"},
		"a text":               {path: text, want: "it is not a program"},
		"a script":             {path: script, want: "it is a script"},
		"another architecture": {path: other, want: "another architecture"},
		"dies":                 {path: program(t, "dies"), want: "died before it was ready (exit 3)"},
		"hangs":                {path: program(t, "hangs"), want: "not ready after"},
		"without this library": {path: program(t, "silent"), want: "an older release of this library"},
		"dies when it is ready": {
			path: program(t, "collapses"), want: "the new worker ended right after it was ready",
		},
		"cannot adopt": {path: program(t, "refuses"), want: `cannot continue as the supervisor: cannot read "state"`},
		"is not wanted": {
			path: program(t, "v2"), check: errors.New("another PID file"), want: "another PID file",
		},
	} {
		_, err := r.Upgrade(t.Context(), UpgradeSpec{
			Path:  tt.path,
			Check: func(Hello) error { return tt.check },
			State: func() (json.RawMessage, error) { return json.RawMessage(`"state"`), nil },
		})
		require.ErrorContains(t, err, tt.want, what)
		r.requireServing(old)
		require.Empty(t, r.others, what)
	}
	require.False(t, strings.Contains(fmt.Sprint(r.events), "Exited"))
}

func TestAWorkerThatDoesNotDrainIsKilled(t *testing.T) {
	r := run(t, func(s *Spec) {})
	first, err := r.Upgrade(t.Context(), UpgradeSpec{Path: program(t, "lingers")})
	require.NoError(t, err)
	second, err := r.Upgrade(t.Context(), UpgradeSpec{Path: program(t, "v3"), DrainTimeout: 100 * time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, first.New, second.Old)
	drained := await(r, func(d Drained) bool { return d.PID == first.New })
	require.Equal(t, "KILL", strings.TrimPrefix(drained.Exit.Signal, "SIG"))
	require.Equal(t, errNotDrained.Error(), drained.Exit.Why)
	r.requireServing(second.New)
}

// The end of a worker does not end processes of other workers, even if they have left its group and
// its session.
func TestOnlyTheProcessesOfAnEndedWorkerEnd(t *testing.T) {
	proctest.Needs(t, "setsid")
	r := run(t, nil)
	old := r.pid()
	path := program(t, "spawns")
	done, err := r.Upgrade(t.Context(), UpgradeSpec{Path: path})
	require.NoError(t, err)
	text, err := os.ReadFile(path + ".child")
	require.NoError(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.Zero(t, await(r, func(d Drained) bool { return d.PID == old }).Left)
	require.NoError(t, syscall.Kill(child, 0))
	_, err = r.Upgrade(t.Context(), UpgradeSpec{Path: program(t, "v3")})
	require.NoError(t, err)
	require.Equal(t, 1, await(r, func(d Drained) bool { return d.PID == done.New }).Left)
	require.ErrorIs(t, syscall.Kill(child, 0), syscall.ESRCH)
}

func TestAStopEndsDrainingWorkersToo(t *testing.T) {
	r := run(t, nil)
	first, err := r.Upgrade(t.Context(), UpgradeSpec{Path: program(t, "lingers")})
	require.NoError(t, err)
	second, err := r.Upgrade(t.Context(), UpgradeSpec{Path: program(t, "v3"), DrainTimeout: time.Hour})
	require.NoError(t, err)
	r.stop()
	require.NoError(t, r.Stop())
	require.ErrorIs(t, syscall.Kill(first.New, 0), syscall.ESRCH)
	require.ErrorIs(t, syscall.Kill(second.New, 0), syscall.ESRCH)
	require.NoError(t, <-r.result)
	r.Close()
	_, err = r.Upgrade(t.Context(), UpgradeSpec{Path: program(t, "v4")})
	require.ErrorIs(t, err, ErrStopping)
}

// inProgress begins an upgrade to a program that is not ready until goOn is called.
func inProgress(ctx context.Context, t *testing.T, r *running, u UpgradeSpec) (candidate *process, goOn func(), verdict <-chan error) {
	t.Helper()
	u.Path = program(t, "waits")
	over := make(chan error, 1)
	go func() {
		_, err := r.Upgrade(ctx, u)
		over <- err
	}()
	proctest.Eventually(t, func() bool {
		r.Supervisor.mu.Lock()
		defer r.Supervisor.mu.Unlock()
		if r.op != nil {
			candidate = r.op.candidate
		}
		return candidate != nil
	}, "the new worker")
	return candidate, func() { require.NoError(t, os.WriteFile(u.Path+".go", nil, 0o600)) }, over
}

func TestTheOldWorkerIsRestartedDuringAnUpgrade(t *testing.T) {
	for what, end := range map[string]func(r *running) error{
		"a crash":   func(r *running) error { return syscall.Kill(r.pid(), syscall.SIGKILL) },
		"a restart": func(r *running) error { return r.Restart() },
	} {
		r := run(t, nil)
		old := r.pid()
		candidate, goOn, verdict := inProgress(t.Context(), t, r, UpgradeSpec{})
		require.NoError(t, end(r), what)
		again := await(r, func(s Started) bool { return s.PID != old && s.Restarts == 1 }).PID
		await(r, func(s Said) bool { return s.Text != nil && strings.HasPrefix(*s.Text, "serves supervise.test") })
		require.False(t, candidate.hasEnded(), what)
		goOn()
		require.NoError(t, <-verdict, what)
		r.requireServing(candidate.PID)
		await(r, func(d Drained) bool { return d.PID == again })
	}
}

func TestAnUpgradeWhoseCallerGivesUpKeepsTheOldWorker(t *testing.T) {
	r := run(t, nil)
	old := r.pid()
	ctx, cancel := context.WithCancelCause(t.Context())
	candidate, _, verdict := inProgress(ctx, t, r, UpgradeSpec{})
	enough := errors.New("enough")
	cancel(enough)
	require.ErrorIs(t, <-verdict, enough)
	r.requireServing(old)
	require.Empty(t, r.others)
	require.ErrorIs(t, syscall.Kill(candidate.PID, 0), syscall.ESRCH)
}

func TestOneUpgradeAtATime(t *testing.T) {
	r := run(t, nil)
	candidate, goOn, verdict := inProgress(t.Context(), t, r, UpgradeSpec{})
	_, err := r.Upgrade(t.Context(), UpgradeSpec{Path: program(t, "v2")})
	require.ErrorIs(t, err, ErrUpgrading)
	goOn()
	require.NoError(t, <-verdict)
	r.requireServing(candidate.PID)
}

func TestAStopDuringAnUpgradeEndsTheCandidateToo(t *testing.T) {
	for _, alone := range []bool{false, true} {
		r := run(t, nil)
		candidate, _, verdict := inProgress(t.Context(), t, r, UpgradeSpec{NoOverlap: alone})
		r.stop()
		require.NoError(t, r.Stop())
		require.ErrorIs(t, <-verdict, ErrStopping)
		require.ErrorIs(t, syscall.Kill(candidate.PID, 0), syscall.ESRCH)
		require.NoError(t, <-r.result)
	}
}

func TestManyUpgradesInARow(t *testing.T) {
	r := run(t, nil)
	path := program(t, "lingers")
	for range maxDraining + 4 {
		_, err := r.Upgrade(t.Context(), UpgradeSpec{Path: path, DrainTimeout: time.Hour})
		require.NoError(t, err)
	}
	proctest.Eventually(t, func() bool {
		r.Supervisor.mu.Lock()
		defer r.Supervisor.mu.Unlock()
		return len(r.others) <= maxDraining
	}, "the end of the oldest workers")
}

// The descriptors of a candidate stay in the store only if the candidate becomes the current
// worker.
func TestARefusedCandidateLeavesNothingInTheStore(t *testing.T) {
	t.Parallel()
	s, current, _ := newProcess(t)
	candidate := s.newProcess()
	candidate.child, candidate.PID, candidate.state, candidate.timer = new(noChild), current.PID-1, starting, time.NewTimer(time.Hour)
	s.others = append(s.others, candidate)
	store := func(p *process, name string) {
		f, err := os.Open(t.TempDir())
		require.NoError(t, err)
		s.received(sdnotify.Message{PID: p.PID, Text: "FDSTORE=1\nFDNAME=" + name, Files: []*os.File{f}})
	}
	store(current, "old")
	store(candidate, "new")
	s.received(sdnotify.Message{PID: candidate.PID, Text: "FDSTOREREMOVE=1\nFDNAME=old"})
	require.Len(t, s.stored(), 2, "only the current worker can remove descriptors")
	s.store.forget(candidate.stored)
	require.Len(t, s.stored(), 1)
	require.Equal(t, "old", s.stored()[0].Name)
}

// sleeps changes the spec to the spec of a supervised program.
func sleeps(s *Spec) {
	s.Args, s.Program = []string{"sleep", "1000"}, func() (string, error) { return exec.LookPath("sleep") }
	s.Policy.Settle = 10 * time.Millisecond
}

func TestASupervisedProgramIsReplaced(t *testing.T) {
	r := run(t, sleeps)
	old := r.pid()
	done, err := r.Upgrade(t.Context(), UpgradeSpec{})
	require.NoError(t, err)
	require.Equal(t, old, done.Old)
	require.Equal(t, "TERM", strings.TrimPrefix(await(r, func(d Drained) bool { return d.PID == old }).Exit.Signal, "SIG"))
	r.requireServing(done.New)
}

func TestTheSupervisorOfAProgramIsUpgradedAndTheProgramRunsOn(t *testing.T) {
	r := run(t, sleeps)
	worker := r.pid()
	ask := func(name string) (Replaced, error) {
		return r.Upgrade(t.Context(), UpgradeSpec{
			Path: program(t, name), Probe: &Probe{Args: []string{"guard"}}, NoOverlap: true,
			State: func() (json.RawMessage, error) { return json.RawMessage(`"state"`), nil },
		})
	}
	done, err := ask("v2")
	require.NoError(t, err)
	require.Equal(t, Replaced{New: worker, Version: "v2", Took: done.Took}, done)
	r.requireServing(worker)
	require.Empty(t, r.others)
	for name, want := range map[string]string{
		"refuses": `cannot continue as the supervisor: cannot read "state"`,
		"dies":    "died before it was ready (exit 3)",
	} {
		_, err = ask(name)
		require.ErrorContains(t, err, want)
		r.requireServing(worker)
		require.Empty(t, r.others)
	}
}

func TestWithNoOverlapTheOldWorkerEndsFirstAndRestartsAfterAFailure(t *testing.T) {
	r := run(t, nil)
	old := r.pid()
	_, err := r.Upgrade(t.Context(), UpgradeSpec{Path: program(t, "dies"), NoOverlap: true})
	var restored *RestoreError
	require.ErrorAs(t, err, &restored)
	require.NoError(t, restored.Old)
	require.ErrorContains(t, err, "died before it was ready (exit 3)")
	require.NotEqual(t, old, r.pid())
	r.requireServing(r.pid())
	old = r.pid()
	done, err := r.Upgrade(t.Context(), UpgradeSpec{Path: program(t, "v2"), NoOverlap: true})
	require.NoError(t, err)
	require.Zero(t, done.Old)
	require.ErrorIs(t, syscall.Kill(old, 0), syscall.ESRCH)
	r.requireServing(done.New)
}
