package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

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
