package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/supervise"
)

// errorTree returns a random error with which a life can end.
func errorTree(r *rand.Rand) error {
	text := []string{"boom", "lifecycle: boom", "panic: boom", "two\nlines", "größer", `"\x00`, "a (applied before: b)"}
	leaf := func() error { return errors.New(text[r.IntN(len(text))]) }
	cause := []func() error{
		leaf,
		func() error { return fmt.Errorf("listen: %w", fs.ErrPermission) },
		func() error { return fmt.Errorf("wrapped: %w", ErrNotRunning) },
		func() error { return WithExitCode(leaf(), r.IntN(300)) },
		func() error { return &PanicError{text[r.IntN(len(text))], []byte("goroutine 1:\n\tmain.go:7\n")} },
		func() error { return fmt.Errorf("in f: %w", &PanicError{7, []byte("goroutine 1:\n")}) },
		func() error { return &timeoutError{limit: time.Second, is: ErrStopTimeout} },
		func() error { return &timeoutError{limit: time.Minute, is: ErrReload, result: leaf()} },
		func() error {
			return &timeoutError{limit: time.Minute, is: ErrStartTimeout, result: &PanicError{Value: "late"}}
		},
		func() error { return notReady(time.Minute, leaf()) },
		func() error { return fmt.Errorf("%w: %w", ErrStopTimeout, leaf()) },
	}
	err := cause[r.IntN(len(cause))]()
	if r.IntN(3) > 0 {
		err = &HookError{[]string{"db", "größer", ""}[r.IntN(3)], "OnReload", err}
	}
	switch r.IntN(6) {
	case 0:
		err = WithExitCode(err, r.IntN(300))
	case 1:
		err = &reloadError{cause: err}
	case 2:
		err = &reloadError{cause: err, applied: []string{"http", "cache"}}
	case 3:
		err = WithExitCode(&reloadError{cause: WithExitCode(err, 5), applied: []string{"http"}}, 66)
	}
	return err
}

// sent returns err as another process receives it.
func sent(t testing.TB, err error) error {
	text, jsonErr := json.Marshal(encodeError(err))
	require.NoError(t, jsonErr)
	return decodeError(text)
}

// unnamed returns the text of err without the name of this package, which is not sent.
func unnamed(err error) string { return strings.ReplaceAll(err.Error(), "lifecycle: ", "") }

// requireSame requires that got is the error that another process receives for err.
func requireSame(t testing.TB, err, got error) {
	require.Equal(t, unnamed(err), unnamed(got))
	require.Equal(t, max(1, ExitCode(err)), ExitCode(got), "%v", err)
	for _, is := range crossing {
		require.Equal(t, errors.Is(err, is), errors.Is(got, is), "%v, %v", err, is)
	}
	var hook, gotHook *HookError
	require.Equal(t, errors.As(err, &hook), errors.As(got, &gotHook), "%v", err)
	if hook != nil {
		require.Equal(t, [2]string{hook.Component, hook.Hook}, [2]string{gotHook.Component, gotHook.Hook})
	}
	var panicked, gotPanicked *PanicError
	require.Equal(t, errors.As(err, &panicked), errors.As(got, &gotPanicked), "%v", err)
	if panicked != nil {
		stack := panicked.Stack[:min(len(panicked.Stack), maxStack)]
		require.Equal(t, string(stack), string(gotPanicked.Stack), "%v", err)
	}
	var late *timeoutError
	if errors.As(err, &late) {
		require.ErrorAs(t, got, &late)
	}
	var failed, gotFailed *reloadError
	if errors.As(err, &failed) && failed.applied != nil {
		require.ErrorAs(t, got, &gotFailed)
		require.Equal(t, failed.applied, gotFailed.applied)
	}
}

// A worker sends the error to its supervisor, and the supervisor sends it to the launcher.
func TestAnErrorIsTheSameInTheProcessThatReceivesIt(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1000) {
		err := errorTree(rand.New(rand.NewPCG(seed, 15)))
		once := sent(t, err)
		requireSame(t, err, once)
		twice := sent(t, once)
		requireSame(t, err, twice)
		require.Equal(t, once, twice, "%v", err)
		both := joinErrors(err, errors.New("another"))
		require.Equal(t, once, sent(t, both), "the first error of a life counts")
	}
}

// A Verdict has no exit code and no panic, so the state file has none either.
func TestAVerdictHasTheTextAndTheHookOfTheError(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1000) {
		err := errorTree(rand.New(rand.NewPCG(seed, 16)))
		text, jsonErr := json.Marshal(newVerdict(1, 2, err))
		require.NoError(t, jsonErr)
		require.NotContains(t, string(text), `"code"`)
		var v Verdict
		require.NoError(t, json.Unmarshal(text, &v))
		got := v.reloadErr()
		require.ErrorIs(t, got, ErrReload)
		require.Equal(t, unnamed(err), unnamed(got))
		var hook, gotHook *HookError
		require.Equal(t, errors.As(err, &hook), errors.As(got, &gotHook))
		if hook != nil {
			require.Equal(t, [2]string{hook.Component, hook.Hook}, [2]string{gotHook.Component, gotHook.Hook})
		}
	}
	require.NoError(t, newVerdict(1, 2, nil).Err())
	require.NoError(t, newVerdict(1, 2, nil).reloadErr())
}

func TestAnErrorOfAnotherProcessIsNoCleanEnd(t *testing.T) {
	t.Parallel()
	l, err := newLife(nil, []Option{Embedded(), CleanErrors(ErrStopTimeout)})
	require.NoError(t, err)
	for _, text := range []string{
		`{"is":["lifecycle: a body returned","context canceled"],"error":"x"}`,
		`{"is":["lifecycle: the stop took too long"],"timed_out":true,"error":"x"}`,
	} {
		require.False(t, l.clean(decodeError(json.RawMessage(text))), text)
	}
	got := decodeError(json.RawMessage(`{"is":["lifecycle: not running","lifecycle: already running"],"error":"x"}`))
	require.NotErrorIs(t, got, ErrNotRunning)
	require.NotErrorIs(t, got, ErrAlreadyRunning)
}

// A supervisor once ended with a nil pointer when it logged such a verdict.
func TestAVerdictThatCannotBeReadIsAFailure(t *testing.T) {
	t.Parallel()
	verdict := json.RawMessage(`{"error":"x","at":"never"}`)
	bad := &supervise.ReloadError{Reload: supervise.Reload{Verdict: verdict}}
	got := reloadOfWorker(bad).(workerError).error
	require.ErrorContains(t, got, "the verdict of the worker cannot be read: ")
	require.ErrorIs(t, got, ErrReload)
	bad.Reload = supervise.Reload{Error: "refused"}
	got = reloadOfWorker(bad).(workerError).error
	require.EqualError(t, got, "lifecycle: refused")
}

type exitCoder struct{ code int }

func (e exitCoder) Error() string { return "coded" }
func (e exitCoder) ExitCode() int { return e.code }

func TestExitCode(t *testing.T) {
	killed := exec.Command("sh", "-c", "kill -9 $$").Run()
	exited := exec.Command("sh", "-c", "exit 3").Run()
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errBoom, 1},
		{&NotRunningError{}, 7},
		{fmt.Errorf("wrapped: %w", ErrNotRunning), 7},
		{&AlreadyRunningError{}, 1},
		{syscall.EPERM, 4},
		{&fs.PathError{Err: syscall.EACCES}, 4},
		{&PanicError{}, 70},
		{&HookError{Err: &PanicError{}}, 70},
		{WithExitCode(errBoom, 78), 78},
		{WithExitCode(errBoom, 0), 0},
		{WithExitCode(syscall.EPERM, 9), 9},
		{&HookError{Err: WithExitCode(errBoom, 66)}, 66},
		{WithExitCode(&HookError{Err: WithExitCode(errBoom, 66)}, 77), 77},
		{exitCoder{5}, 5},
		{exitCoder{-1}, 1},
		{exitCoder{256}, 1},
		{exited, 3},
		{killed, 1},
		{errors.Join(errBoom, exitCoder{5}), 5},
		{joinErrors(errBoom, exitCoder{5}), 1},
		{joinErrors(nil, exitCoder{5}, errBoom), 5},
		{WithExitCode(joinErrors(errBoom, exitCoder{5}), 6), 6},
		{fmt.Errorf("wrapped: %w", joinErrors(exitCoder{5}, exitCoder{6})), 5},
	} {
		require.Equal(t, c.code, ExitCode(c.err), "%v", c.err)
	}
	require.NoError(t, WithExitCode(nil, 3))
	require.ErrorIs(t, WithExitCode(errBoom, 3), errBoom)
	require.EqualError(t, WithExitCode(errBoom, 3), "boom")
}

func TestTheOtherFailuresOfAWorkerReachTheRecordOfItsSupervisor(t *testing.T) {
	first := WithExitCode(&HookError{"db", "OnStop", errors.New("cannot flush")}, 44)
	f := encodeError(first)
	f.Also = []string{"OnExit of db failed: \xff", "it failed: the disk is gone"}
	text, err := json.Marshal(f)
	require.NoError(t, err)
	got := decodeError(text)
	require.Equal(t, 44, ExitCode(got))
	record := newFailure(got)
	require.Equal(t, []string{`OnExit of db failed: \xff`, "it failed: the disk is gone"}, record.Also)
	require.Equal(t, [3]string{"db", "OnStop", "cannot flush"}, [3]string{record.Component, record.Hook, record.Error})
}
