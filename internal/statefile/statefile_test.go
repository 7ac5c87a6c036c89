package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/safefile"
)

// TestMain gives root a directory for temporary files that only root can write.
func TestMain(m *testing.M) { proctest.Main(m, false) }

// newFile creates a state file.
func newFile(t *testing.T) (f *File, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "daemon.state")
	f, err := Create(path, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = f.Remove() })
	return f, path
}

func requireRecord(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func TestAWriteWithAnEarlierNumberIsIgnored(t *testing.T) {
	f, path := newFile(t)
	require.NoError(t, f.Write(2, mustSeal(t, "2")))
	require.NoError(t, f.Write(1, mustSeal(t, "1")))
	requireRecord(t, path, mustSeal(t, "2"))

	var all sync.WaitGroup
	for seq := 3; seq < 500; seq++ {
		record := mustSeal(t, fmt.Sprint(seq))
		all.Go(func() { _ = f.Write(seq, record) })
	}
	all.Wait()
	requireRecord(t, path, mustSeal(t, "499"))
}

func TestAnEmptyRecordEmptiesTheFile(t *testing.T) {
	f, path := newFile(t)
	require.NoError(t, f.Write(1, mustSeal(t, "1")))
	require.NoError(t, f.Write(2, nil))
	requireRecord(t, path, nil)
	_, err := Read(path, os.Geteuid())
	require.ErrorIs(t, err, ErrDamaged)
}

func TestAReplacedFileIsNotChanged(t *testing.T) {
	f, path := newFile(t)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	require.NoError(t, f.Write(1, mustSeal(t, "1")))
	for range 2 {
		removeErr, emptyErr := f.Remove()
		require.NoError(t, removeErr)
		require.NoError(t, emptyErr)
		require.NoError(t, f.Write(2, mustSeal(t, "2")), "the file is closed")
	}
	requireRecord(t, path, []byte("precious"))
}

func TestKeepDoesNotChangeTheFile(t *testing.T) {
	f, path := newFile(t)
	require.NoError(t, f.Write(1, mustSeal(t, "1")))
	f.Keep()
	_, _ = f.Remove()
	require.NoError(t, f.Write(2, mustSeal(t, "2")))
	requireRecord(t, path, mustSeal(t, "1"))
}

func TestAFileOutsideOfTheRootDirectoryIsEmptied(t *testing.T) {
	f, path := newFile(t)
	require.NoError(t, f.Write(1, mustSeal(t, "1")))
	f.SetPath("")
	removeErr, emptyErr := f.Remove()
	require.Equal(t, "it is outside the root directory", removeErr.Error())
	require.NoError(t, emptyErr)
	requireRecord(t, path, nil)

	f, path = newFile(t)
	f.SetPath("")
	require.Error(t, f.CheckRemovable())
	removeErr, emptyErr = f.Remove()
	require.NoError(t, removeErr, "CheckRemovable has reported the error")
	require.NoError(t, emptyErr)
	require.FileExists(t, path)
}

func TestErrorsInARowAreReturnedOnce(t *testing.T) {
	f, path := newFile(t)
	f.file.File.Close()
	require.Error(t, f.Write(1, mustSeal(t, "1")))
	require.NoError(t, f.Write(2, mustSeal(t, "2")))
	requireRecord(t, path, nil)
}

func TestANilFileDoesNothing(t *testing.T) {
	var none *File
	require.NoError(t, none.Write(1, mustSeal(t, "1")))
	require.NoError(t, none.CheckRemovable())
	none.SetPath("/none")
	none.Keep()
	removeErr, emptyErr := none.Remove()
	require.NoError(t, errors.Join(removeErr, emptyErr))
}

func TestRemoveStaleRemovesOnlyRecordsAndPartsOfRecords(t *testing.T) {
	record := mustSeal(t, "any")
	path := filepath.Join(t.TempDir(), "daemon.state")
	require.NoError(t, RemoveStale(path), "there is no file")
	for what, content := range map[string][]byte{
		"a record": record, "half of one": record[:100], "nothing": {}, "zeros": make([]byte, Size),
		"a front and zeros": append(bytes.Clone(record[:100]), make([]byte, Size-100)...),
	} {
		require.NoError(t, os.WriteFile(path, content, 0o600))
		require.NoError(t, RemoveStale(path), what)
		require.NoFileExists(t, path, what)
	}
	for what, content := range map[string][]byte{
		"data": []byte("precious"), "as much as a record": bytes.Repeat([]byte("precious"), Size/8),
		"more than a record": append(bytes.Clone(record), '\n'), "more zeros": make([]byte, Size+1),
	} {
		require.NoError(t, os.WriteFile(path, content, 0o600))
		require.ErrorIs(t, RemoveStale(path), safefile.ErrUnsafe, what)
		requireRecord(t, path, content)
	}
}

func TestOnlyTheFileOfTheOwnerIsRead(t *testing.T) {
	f, path := newFile(t)
	require.NoError(t, f.Write(1, mustSeal(t, "1")))
	object, err := Read(path, os.Geteuid())
	require.NoError(t, err)
	require.Equal(t, `{"format":1,"text":"1"}`, string(object))
	_, err = Read(path, os.Geteuid()+1)
	require.ErrorIs(t, err, safefile.ErrUnsafe)
	require.NoError(t, os.Chmod(path, 0o666))
	_, err = Read(path, os.Geteuid())
	require.ErrorIs(t, err, safefile.ErrUnsafe)
}

func TestRetryReturnsAtOnceIfItCannotHelp(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		again bool
		took  time.Duration
	}{
		"success":    {nil, true, 0},
		"damaged":    {ErrDamaged, true, RetryTime},
		"not again":  {ErrDamaged, false, 0},
		"unsafe":     {safefile.Unsafe("any"), true, 0},
		"permission": {fs.ErrPermission, true, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			require.Equal(t, c.err, Retry(func() (bool, error) { return c.again, c.err }), name)
			require.InDelta(t, c.took, time.Since(start), float64(2*time.Millisecond), name)
		})
	}
}

func TestAConcurrentReaderGetsAWholeRecordOrNone(t *testing.T) {
	dirs := []string{t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "statefile-test-"); err == nil { // tmpfs
		t.Cleanup(func() { os.RemoveAll(dir) })
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		requireNoWrongRecord(t, filepath.Join(dir, "daemon.state"))
	}
}

// requireNoWrongRecord reads and writes a state file concurrently, as fast as it can. It logs how
// often only the checksum detected a torn record.
func requireNoWrongRecord(t *testing.T, path string) {
	t.Helper()
	reads := proctest.Rounds(10_000, 5_000_000, 5_000_000)
	var records [][]byte
	whole := map[string]bool{}
	for n := range 16 {
		record := mustSeal(t, strings.Repeat(string(rune('a'+n)), n*n*15))
		records = append(records, record)
		whole[string(record)] = true
	}
	state, err := Create(path, 0o600)
	require.NoError(t, err)
	defer state.Remove()
	require.NoError(t, state.Write(1, records[0]))
	f, err := safefile.Open(path)
	require.NoError(t, err)
	defer f.Close()

	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		for seq := 2; ; seq++ {
			select {
			case <-stop:
				stopped <- seq
				return
			default:
				_ = state.Write(seq, records[seq%len(records)])
			}
		}
	}()
	torn, wrong := 0, 0
	for range reads {
		record, err := readRecord(f)
		if err != nil || len(record) != Size {
			t.Errorf("read %d bytes, %v", len(record), err)
			break
		}
		if whole[string(record)] {
			continue
		}
		torn++
		if _, err := Unseal(record); err == nil {
			wrong++
		}
	}
	close(stop)
	t.Logf("%s: %d reads beside %d writes: %d torn, which the checksum caught, and %d wrong", path, reads, <-stopped, torn, wrong)
	require.Zero(t, wrong)
}

// During Replace, the path always names a record. Replace does not change a file of another
// program.
func TestReplaceLeavesNoMomentWithoutARecord(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "d.state")
	sealed := func(text string) []byte {
		record, err := Seal([]byte(`{"format":1,"name":"` + text + `"}`))
		require.NoError(t, err)
		return record
	}
	require.NoError(t, os.WriteFile(path, sealed("old"), 0o600))
	require.NoError(t, os.WriteFile(path+unfinished, sealed("of a killed process"), 0o600))
	f, err := Replace(path, 0o640, sealed("new"))
	require.NoError(t, err)
	require.NoFileExists(t, path+unfinished)
	object, err := Read(path, os.Geteuid())
	require.NoError(t, err)
	require.Contains(t, string(object), `"new"`)
	require.NoError(t, f.Write(1, sealed("newer")))
	object, err = Read(path, os.Geteuid())
	require.NoError(t, err)
	require.Contains(t, string(object), `"newer"`)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o640), info.Mode())
	removeErr, emptyErr := f.Remove()
	require.NoError(t, errors.Join(removeErr, emptyErr))
	require.NoFileExists(t, path)

	_, err = Replace(path, 0o600, sealed("new"))
	require.ErrorIs(t, err, fs.ErrNotExist, "there is nothing to replace")
	require.NoError(t, os.WriteFile(path, []byte("a letter"), 0o600))
	_, err = Replace(path, 0o600, sealed("new"))
	require.ErrorIs(t, err, safefile.ErrUnsafe)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "a letter", string(text))
	require.NoFileExists(t, path+unfinished)

	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path+unfinished, sealed("of a killed process"), 0o600))
	_, err = Create(path, 0o600)
	require.NoError(t, err)
	require.NoFileExists(t, path+unfinished)
}

func TestAnAdoptedFileContinues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.state")
	f, err := Create(path, 0o644)
	require.NoError(t, err)
	first, err := Seal([]byte(`{"format":1,"n":1}`))
	require.NoError(t, err)
	require.NoError(t, f.Write(7, first))
	adopted, err := Adopt(path, f.Kept())
	require.NoError(t, err)
	second, err := Seal([]byte(`{"format":1,"n":2}`))
	require.NoError(t, err)
	require.NoError(t, adopted.Write(8, second))
	object, err := Read(path, os.Geteuid())
	require.NoError(t, err)
	require.JSONEq(t, `{"format":1,"n":2}`, string(object))
	require.True(t, IsHeld(path))
	adopted.Keep()
	require.Nil(t, adopted.Kept())
	_, err = Adopt(path, nil)
	require.EqualError(t, err, "the previous program did not pass it")
}
