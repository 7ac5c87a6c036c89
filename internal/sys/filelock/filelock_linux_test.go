package filelock

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

func init() {
	programs["name"] = nameInherited
	programs["hold"] = holdFile
	programs["look"] = lookAtFile
}

// nameInherited takes the owner lock on descriptor 3 for this process.
func nameInherited([]string) (any, error) {
	locked = os.NewFile(3, "inherited")
	return nil, LockOwnership(locked)
}

// holdFile takes the flock, the presence lock and the owner lock of a file.
func holdFile(args []string) (any, error) {
	_, err := lockFile(args)
	for _, set := range []func(*os.File) error{LockPresence, LockOwnership} {
		if err == nil {
			err = set(locked)
		}
	}
	return nil, err
}

func lookAtFile(args []string) (any, error) {
	f, err := os.Open(args[0])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Inspect(f)
}

// requireSeen requires the state that another process sees. This process does not see its own owner
// lock, and would drop the lock by opening and closing the file.
func requireSeen(t *testing.T, want State, path string) {
	t.Helper()
	_, line, end := answer(t, "look", nil, path)
	end()
	require.Equal(t, fmt.Sprintf("%+v\n", want), line)
}

// hold takes the three locks of a new file, in this process.
func hold(t *testing.T) (path string, f *os.File) {
	t.Helper()
	path = lockPath(t)
	f = open(t, path, os.O_RDWR)
	require.NoError(t, TryLock(f))
	require.NoError(t, LockPresence(f))
	require.NoError(t, LockOwnership(f))
	return path, f
}

func TestInspectReportsTheHolder(t *testing.T) {
	path := lockPath(t)
	reader, writer := open(t, path, os.O_RDONLY), open(t, path, os.O_RDWR)
	requireLook := func(want State) {
		t.Helper()
		for _, f := range []*os.File{reader, writer} {
			state, err := Inspect(f)
			require.NoError(t, err)
			require.Equal(t, want, state)
		}
	}
	requireLook(State{})
	_, end := program(t, "lock", nil, path)
	requireLook(State{Held: true}) // a flock alone does not mark a daemon
	end()
	requireLook(State{})
	pid, end := program(t, "hold", nil, path)
	requireLook(State{Held: true, Present: true, Owned: true, PID: pid})
	end()
	requireLook(State{})
}

func TestThePresenceLockFollowsTheDescriptionAndTheOwnerLockTheProcess(t *testing.T) {
	path, holder := hold(t)
	requireSeen(t, State{Held: true, Present: true, Owned: true, PID: os.Getpid()}, path)
	_, end := program(t, "idle", holder)
	requireSeen(t, State{Held: true, Present: true, Owned: true, PID: os.Getpid()}, path)
	require.NoError(t, holder.Close())
	requireSeen(t, State{Held: true, Present: true}, path)
	end()
	requireSeen(t, State{}, path)
}

func TestAProcessThatInheritsTheDescriptionCanTakeTheOwnerLock(t *testing.T) {
	path := lockPath(t)
	holder := open(t, path, os.O_RDWR)
	require.NoError(t, TryLock(holder))
	require.NoError(t, LockPresence(holder))
	pid, end := program(t, "name", holder)
	require.NoError(t, holder.Close())
	requireSeen(t, State{Held: true, Present: true, Owned: true, PID: pid}, path)
	end()
	requireSeen(t, State{}, path)
}

func TestClosingAnyDescriptorOfTheFileDropsTheOwnerLock(t *testing.T) {
	path, holder := hold(t)
	require.NoError(t, open(t, path, os.O_RDONLY).Close())
	requireSeen(t, State{Held: true, Present: true}, path)
	require.NoError(t, LockOwnership(holder), "the process can take the owner lock again")
	requireSeen(t, State{Held: true, Present: true, Owned: true, PID: os.Getpid()}, path)
}

func TestAnOwnerLockAloneCountsAsPresence(t *testing.T) {
	path := lockPath(t)
	holder := open(t, path, os.O_RDWR)
	require.NoError(t, TryLock(holder))
	require.NoError(t, LockOwnership(holder))
	requireSeen(t, State{Held: true, Present: true, Owned: true, PID: os.Getpid()}, path)
}

// squat takes read locks on the bytes of the presence and owner locks. Every user who can read the
// file can do that.
func squat(t *testing.T, reader *os.File) {
	t.Helper()
	for _, at := range []int64{presenceByte, ownerByte} {
		require.NoError(t, rawconn.Control(reader, func(fd int) error {
			return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1})
		}))
	}
}

func TestAReaderCannotForgeAMark(t *testing.T) {
	path := lockPath(t)
	reader := open(t, path, os.O_RDONLY|os.O_CREATE)
	require.ErrorIs(t, LockPresence(reader), unix.EBADF)
	require.ErrorIs(t, LockOwnership(reader), unix.EBADF)
	squat(t, reader)
	requireSeen(t, State{}, path)
}

func TestAnEarlierReadLockPreventsTheMarks(t *testing.T) {
	path := lockPath(t)
	reader, holder := open(t, path, os.O_RDONLY), open(t, path, os.O_RDWR)
	squat(t, reader)
	require.NoError(t, TryLock(holder), "the flock does not depend on the marks")
	require.ErrorIs(t, LockPresence(holder), ErrHeld)
	require.ErrorIs(t, LockOwnership(holder), ErrHeld)
	require.NoError(t, reader.Close())
	require.NoError(t, LockPresence(holder))
	require.NoError(t, LockOwnership(holder))
}

func TestTheMarksDoNotDependOnTheContent(t *testing.T) {
	path, holder := hold(t)
	for size := range 3 {
		require.NoError(t, holder.Truncate(int64(size)))
		_, err := fmt.Fprint(holder, "more")
		require.NoError(t, err)
	}
	requireSeen(t, State{Held: true, Present: true, Owned: true, PID: os.Getpid()}, path)
}
