package pidfile

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/filelock"
	"example.com/lifecycle/internal/sys/safefile"
)

func mustAcquire(t *testing.T, path string) *Lock {
	t.Helper()
	lock, err := Acquire(path, 0o644)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = lock.Release() })
	return lock
}

// hasMarks reports whether this system reports the presence lock and the owner lock.
func hasMarks(lock *Lock) bool { return !errors.Is(lock.MarkErr(), errors.ErrUnsupported) }

func TestAcquireReusesAndEmptiesAStaleFile(t *testing.T) {
	path := pidFileWith(t, "4242\n")
	require.NoError(t, os.Chmod(path, 0o600))
	lock := mustAcquire(t, path)
	requireContent(t, path, "")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o644), info.Mode())
	same, err := safefile.Same(lock.File(), path)
	require.NoError(t, err)
	require.True(t, same, "the same file")
}

func TestTheNextAcquireNamesTheHolder(t *testing.T) {
	path := pidFileWith(t, "")
	lock := mustAcquire(t, path)
	require.NoError(t, lock.WritePID())
	_, err := Acquire(path, 0o644)
	var held *HeldError
	require.ErrorAs(t, err, &held)
	require.Equal(t, os.Getpid(), held.PID)
}

func TestAcquireReportsAnotherProgramThatHoldsTheFile(t *testing.T) {
	path := pidFileWith(t, "4242\n")
	lockedBy(t, path)
	if state, err := filelock.Inspect(openFile(t, path)); err != nil || state.NoMarks {
		t.Skip("on this system, a number in the file means that a daemon holds it")
	}
	_, err := Acquire(path, 0o644)
	var other *OtherHolderError
	require.ErrorAs(t, err, &other)
	require.ErrorContains(t, err, "locked by another program")
	require.Contains(t, []int{0, os.Getpid()}, other.PID, "some file systems do not report the PID")
	requireContent(t, path, "4242\n")
}

func TestInspectRecognizesALockOfThisProcessWithoutOpeningTheFile(t *testing.T) {
	path := pidFileWith(t, "")
	lock := mustAcquire(t, path)
	want := Holder{Held: true, Daemon: true, Known: true, PID: os.Getpid(), Owner: os.Geteuid()}
	require.Equal(t, want, mustInspect(t, path), "the PID is not written yet")
	require.NoError(t, lock.WritePID())
	want.Number = want.PID
	require.Equal(t, want, mustInspect(t, path))
}

func TestInspectDoesNotTakeALauncherForTheDaemon(t *testing.T) {
	path := pidFileWith(t, "")
	launcher, err := AcquireForChild(path, 0o644)
	require.NoError(t, err)
	if !hasMarks(launcher) {
		t.Skip("this system does not report marks")
	}
	require.Equal(t, Holder{Held: true, Daemon: true, Owner: os.Geteuid()}, mustInspect(t, path))
	require.Equal(t, ErrNoPID, mustInspect(t, path).Unidentified(path))

	inherited, err := Inherit(path, launcher.File(), 0o644)
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), mustInspect(t, path).PID)
	_, _ = inherited.Release()
}

// A daemon does not trust the launcher that passes the lock.
func TestInheritAcceptsOnlyTheLockOfTheFile(t *testing.T) {
	path := pidFileWith(t, "4242\n")
	inherit := func(f *os.File) error {
		_, err := Inherit(path, f, 0o644)
		return err
	}
	other, given := lockedBy(t, path), openFile(t, path)
	require.EqualError(t, inherit(given), "another process has locked the file that the launcher passed")
	require.EqualError(t, inherit(nil), "the launcher did not pass it")
	requireContent(t, path, "4242\n")
	require.ErrorIs(t, filelock.TryLock(given), filelock.ErrHeld, "the holder still has the lock")

	require.NoError(t, other.Close())
	require.NoError(t, inherit(given), "no process has the lock")
	require.NoError(t, inherit(given), "this process has the lock")
	require.ErrorIs(t, filelock.TryLock(openFile(t, path)), filelock.ErrHeld)
	requireContent(t, path, "")

	require.NoError(t, os.Rename(path, path+".gone"))
	require.EqualError(t, inherit(given), "it was deleted or replaced during the start")
}

func TestAfterTheHandOffTheLauncherRemovesNothing(t *testing.T) {
	path := pidFileWith(t, "")
	launcher, err := AcquireForChild(path, 0o644)
	require.NoError(t, err)
	launcher.HandOff()
	cleaned := false
	removeErr, emptyErr := launcher.ReleaseStale(func() { cleaned = true })
	require.NoError(t, errors.Join(removeErr, emptyErr))
	require.False(t, cleaned)
	require.FileExists(t, path, "the file belongs to the daemon now")
}

func TestFilesOfADeadProcessAreRemovedUnderTheLock(t *testing.T) {
	path := pidFileWith(t, "4242\n")
	f := lockedBy(t, path)
	cleanups := 0
	RemoveStale(path, 0o644, 10*time.Millisecond, func() { cleanups++ })
	requireContent(t, path, "4242\n")
	require.Zero(t, cleanups, "another process holds the file")

	require.NoError(t, f.Close())
	RemoveStale(path, 0o644, time.Minute, func() {
		cleanups++
		require.ErrorIs(t, filelock.TryLock(openFile(t, path)), filelock.ErrHeld)
	})
	require.NoFileExists(t, path)
	RemoveStale(path, 0o644, time.Minute, func() { cleanups++ })
	require.Equal(t, 1, cleanups)
}

func TestALostFileIsReportedOnceAndNotRemoved(t *testing.T) {
	path := pidFileWith(t, "")
	lock := mustAcquire(t, path)
	require.False(t, lock.DetectLost())
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	require.True(t, lock.DetectLost())
	require.False(t, lock.DetectLost())
	removeErr, emptyErr := lock.Release()
	require.NoError(t, errors.Join(removeErr, emptyErr))
	requireContent(t, path, "precious")
}

func TestAFileThatCannotBeRemovedIsEmptied(t *testing.T) {
	path := pidFileWith(t, "")
	lock := mustAcquire(t, path)
	require.NoError(t, lock.WritePID())
	lock.SetPath("")
	require.False(t, lock.DetectLost(), "the path is outside the root directory")
	removeErr, emptyErr := lock.Release()
	require.EqualError(t, removeErr, "it is outside the root directory")
	require.NoError(t, emptyErr)
	requireContent(t, path, "")
	require.NoError(t, filelock.TryLock(openFile(t, path)))
}

func TestADescriptorThatTheProgramHasClosedIsALostLock(t *testing.T) {
	lock := mustAcquire(t, pidFileWith(t, ""))
	lock.File().Close()
	require.True(t, lock.DetectLost())
	require.Error(t, lock.WritePID())
	removeErr, emptyErr := lock.Release()
	require.Error(t, removeErr)
	require.Error(t, emptyErr)
}

// registered returns how many locks this process owns.
func registered() (count int) {
	for range held.locks.Range {
		count++
	}
	return count
}

func TestInspectAndAcquireMayRunConcurrentlyInOneProcess(t *testing.T) {
	path, before := pidFileWith(t, ""), registered()
	over := make(chan struct{})
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if h, err := Inspect(path); err != nil || h.Held && h.Known && h.PID != os.Getpid() {
					t.Errorf("%+v, %v", h, err)
					return
				}
			}
		})
	}
	for range 200 {
		lock, err := Acquire(path, 0o644)
		require.NoError(t, err)
		require.NoError(t, lock.WritePID())
		_, _ = lock.Release()
	}
	close(over)
	all.Wait()
	require.Equal(t, before, registered(), "each lock was released")
}

func TestANilLockDoesNothing(t *testing.T) {
	var none *Lock
	require.NoError(t, none.WritePID())
	none.HandOff()
	none.SetPath("any")
	require.NoError(t, none.CheckRemovable())
	require.False(t, none.DetectLost())
	removeErr, emptyErr := none.Release()
	require.NoError(t, errors.Join(removeErr, emptyErr))
	removeErr, emptyErr = none.ReleaseStale(func() { t.Error("there is nothing to clean up") })
	require.NoError(t, errors.Join(removeErr, emptyErr))
}
