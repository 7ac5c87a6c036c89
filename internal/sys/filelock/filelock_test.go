//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package filelock

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const programVar = "FILELOCK_TEST_PROGRAM"

// programs lists the helper programs in the test binary. Each program prints its result on
// one line, and ends when its stdin ends.
var programs = map[string]func(args []string) (any, error){
	"idle": func([]string) (any, error) { return nil, nil },
	"lock": lockFile,
}

func TestMain(m *testing.M) {
	name := os.Getenv(programVar)
	if name == "" {
		os.Exit(m.Run())
	}
	time.AfterFunc(30*time.Second, func() { os.Exit(99) })
	answer, err := programs[name](os.Args[1:])
	if err != nil {
		fmt.Println(name+":", err)
		os.Exit(1)
	}
	fmt.Printf("%+v\n", answer)
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// locked refers to the file that the program lock holds. Without this reference, the garbage
// collector would close the file.
var locked *os.File

func lockFile(args []string) (_ any, err error) {
	if locked, err = os.OpenFile(args[0], os.O_RDWR, 0); err == nil {
		err = TryLock(locked)
	}
	return nil, err
}

// program starts the test binary as that program, with inherited as its descriptor 3. It waits for
// the line of the program. end kills the program.
func program(t *testing.T, name string, inherited *os.File, args ...string) (pid int, end func()) {
	t.Helper()
	pid, line, end := answer(t, name, inherited, args...)
	require.Equal(t, "<nil>\n", line)
	return pid, end
}

// answer starts a program as program does, and returns the result that it prints.
func answer(t *testing.T, name string, inherited *os.File, args ...string) (pid int, line string, end func()) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), programVar+"="+name, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	if inherited != nil {
		cmd.ExtraFiles = []*os.File{inherited}
	}
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	line, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd.Process.Pid, line, end
}

// open opens the file, and creates a missing file. Each call makes a new open file description.
func open(t *testing.T, path string, flag int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flag|os.O_CREATE, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func lockPath(t *testing.T) string { return filepath.Join(t.TempDir(), "lock") }

func requireHeld(t *testing.T, held bool, f *os.File) {
	t.Helper()
	state, err := Inspect(f)
	require.NoError(t, err)
	require.Equal(t, held, state.Held)
}

func TestLockExcludesEveryOtherDescription(t *testing.T) {
	path := lockPath(t)
	holder, other := open(t, path, os.O_RDWR), open(t, path, os.O_RDWR)
	require.NoError(t, TryLock(holder))
	require.NoError(t, TryLock(holder), "the holder can lock again")

	err := TryLock(other)
	require.ErrorIs(t, err, ErrHeld)
	var at *fs.PathError
	require.ErrorAs(t, err, &at)
	require.Equal(t, path, at.Path)
	require.Equal(t, "flock "+path+": locked by another process", err.Error())

	require.NoError(t, holder.Close())
	require.NoError(t, TryLock(other))
}

func TestLockExcludesAnotherProcess(t *testing.T) {
	path := lockPath(t)
	f := open(t, path, os.O_RDWR)
	_, end := program(t, "lock", nil, path)
	require.ErrorIs(t, TryLock(f), ErrHeld)
	requireHeld(t, true, f)
	end()
	requireHeld(t, false, f)
	require.NoError(t, TryLock(f), "the kernel releases the lock of a killed process")
}

func TestLockNotDroppedByExec(t *testing.T) {
	path := lockPath(t)
	holder, other := open(t, path, os.O_RDWR), open(t, path, os.O_RDWR)
	require.NoError(t, TryLock(holder))
	_, end := program(t, "idle", nil)
	requireHeld(t, true, other)
	end()
	requireHeld(t, true, other)
	require.ErrorIs(t, TryLock(other), ErrHeld)
}

func TestLockIsNotLeakedByExec(t *testing.T) {
	path := lockPath(t)
	holder, other := open(t, path, os.O_RDWR), open(t, path, os.O_RDWR)
	require.NoError(t, TryLock(holder))
	program(t, "idle", nil)
	require.NoError(t, holder.Close())
	require.NoError(t, TryLock(other), "the child does not hold the lock")
}

func TestLockLastsUntilTheLastCopyIsClosed(t *testing.T) {
	path := lockPath(t)
	holder, other := open(t, path, os.O_RDWR), open(t, path, os.O_RDWR)
	require.NoError(t, TryLock(holder))
	_, end := program(t, "idle", holder)
	require.NoError(t, holder.Close())
	requireHeld(t, true, other)
	require.ErrorIs(t, TryLock(other), ErrHeld)
	end()
	require.NoError(t, TryLock(other))
}

func TestInspectLeavesNoLock(t *testing.T) {
	path := lockPath(t)
	looking, locking := open(t, path, os.O_RDONLY), open(t, path, os.O_RDWR)
	for range 100 {
		requireHeld(t, false, looking)
		require.NoError(t, TryLock(locking))
		requireHeld(t, true, looking)
		require.NoError(t, locking.Close())
		locking = open(t, path, os.O_RDWR)
	}
}

func TestInspectWithExcludesOtherLocks(t *testing.T) {
	path := lockPath(t)
	looking, locking := open(t, path, os.O_RDONLY), open(t, path, os.O_RDWR)
	calls := 0
	state, err := InspectWith(looking, func() {
		calls++
		require.ErrorIs(t, TryLock(locking), ErrHeld)
		requireHeld(t, false, open(t, path, os.O_RDONLY)) // another inspection does not change the result
	})
	require.NoError(t, err)
	require.False(t, state.Held)
	require.Equal(t, 1, calls)

	require.NoError(t, TryLock(locking))
	state, err = InspectWith(looking, func() { calls++ })
	require.NoError(t, err)
	require.True(t, state.Held)
	require.Equal(t, 1, calls, "it is not called while a process holds the file")
}

func TestAClosedFileIsAnError(t *testing.T) {
	f := open(t, lockPath(t), os.O_RDWR)
	require.NoError(t, f.Close())
	for name, do := range map[string]func(*os.File) error{
		"flock": TryLock,
		"mark":  LockPresence,
		"name":  LockOwnership,
		"look":  func(f *os.File) error { _, err := Inspect(f); return err },
	} {
		err := do(f)
		if errors.Is(err, errors.ErrUnsupported) {
			continue // no such lock on this system
		}
		var at *fs.PathError
		require.ErrorAs(t, err, &at, name)
	}
}
