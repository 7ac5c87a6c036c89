package pidfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// executor holds a PID file, executes itself again, and then adopts the file.
var executor = proctest.Register("executor", func(args []string) int {
	path := args[0]
	var lock *Lock
	var err error
	if len(args) == 1 {
		if lock, err = Acquire(path, 0o644); err == nil {
			err = lock.WritePID()
		}
		if err == nil {
			fd := int(lock.Keep().Fd())
			_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
			err = errors.Join(err, syscall.Exec(proctest.Binary(), append(os.Args, strconv.Itoa(fd)), os.Environ()))
		}
		fmt.Println("cannot execute:", err)
		return 1
	}
	fd, _ := strconv.Atoi(args[1])
	if lock, err = Adopt(path, os.NewFile(uintptr(fd), path)); err != nil || lock.MarkErr() != nil {
		fmt.Println("cannot adopt:", err, lock.MarkErr())
		return 1
	}
	unix.CloseOnExec(fd)
	fmt.Println("adopted")
	_, _ = io.ReadAll(os.Stdin)
	removeErr, _ := lock.Release()
	if removeErr != nil {
		fmt.Println(removeErr)
		return 1
	}
	return 0
})

func TestAProgramAdoptsTheLockOfThePreviousProgram(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	cmd := proctest.Command(executor, path)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	p := proctest.Launch(t, cmd)
	p.Await("adopted")
	h, err := Inspect(path)
	require.NoError(t, err)
	require.Equal(t, Holder{Held: true, Daemon: true, Known: true, PID: p.PID(), Number: p.PID(), Owner: h.Owner}, h)
	_, err = Acquire(path, 0o644)
	held := new(HeldError)
	require.ErrorAs(t, err, &held)
	require.Equal(t, p.PID(), held.PID)
	require.NoError(t, stdin.Close())
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
	require.NoFileExists(t, path)
}

func TestAdoptReturnsAnErrorWithoutAFile(t *testing.T) {
	_, err := Adopt(proctest.PIDPath(t), nil)
	require.EqualError(t, err, "the previous program did not pass it")
}
