package lifecycle

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/filelock"
)

// noPIDs are contents of a PID file that name nobody, and what a lenient reader makes of them.
var noPIDs = map[string]string{
	"":                              "nothing",
	"\n":                            "nothing",
	"0\n":                           "kill(2): every process of the group",
	"-1\n":                          "kill(2): every process",
	"-4242\n":                       "kill(2): a group of processes",
	"+7\n":                          "7",
	" 7\n":                          "7",
	"7 \n":                          "7",
	"7\r\n":                         "7",
	"7\n\n":                         "7",
	"7\x00":                         "7",
	"\x007":                         "7",
	"\x00\x00\x00\x00":              "nothing; what a crash leaves of a file that was not synced",
	"012\n":                         "12, or 10",
	"0x17\n":                        "23",
	"1e3\n":                         "1, or 1000",
	"12abc\n":                       "12",
	"12\n13":                        "12",
	"12\n13\n":                      "12",
	"1_000\n":                       "1000",
	"7.0\n":                         "7",
	"٤٢\n":                          "42, in Arabic digits",
	"４２\n":                          "42, in wide digits",
	"\ufeff7\n":                     "7, after a byte order mark",
	"2147483648\n":                  "a negative pid_t",
	"4294967296\n":                  "0 as a pid_t",
	"4294967297\n":                  "1 as a pid_t",
	"9999999999\n":                  "more than an int has on some systems",
	"99999999999999999999\n":        "more than an int64",
	"18446744073709551617\n":        "1 as a uint64",
	strings.Repeat("9", 64) + "\n":  "65 bytes",
	strings.Repeat("0", 63) + "7":   "7",
	"7" + strings.Repeat("\n", 63):  "7",
	strings.Repeat("9", 1<<20):      "1 MiB of digits",
	"7\n" + strings.Repeat(" ", 64): "7",
}

// Row C5.
func TestOnlyAWholeAndPlainNumberIsAPID(t *testing.T) {
	for text, lenient := range noPIDs {
		require.Zero(t, parsePID([]byte(text)), "%.70q, which a lenient reader may take for %s", text, lenient)
	}
	for _, pid := range []int{1, 2, 9, 10, 42, 12345} {
		require.Equal(t, pid, parsePID(fmt.Append(nil, pid)))
		require.Equal(t, pid, parsePID(fmt.Appendln(nil, pid)))
	}
}

// Row C6.
func TestANumberAbovePIDMaxIsNoPID(t *testing.T) {
	require.Positive(t, maxPID())
	require.EqualValues(t, maxPID(), parsePID(fmt.Appendln(nil, maxPID())))
	require.Zero(t, parsePID(fmt.Appendln(nil, maxPID()+1)))
}

func FuzzPID(f *testing.F) {
	for text := range noPIDs {
		f.Add([]byte(text))
	}
	f.Add([]byte("1"))
	f.Add([]byte("42\n"))
	f.Add(fmt.Appendln(nil, maxPID()))
	form := regexp.MustCompile(`^[1-9][0-9]{0,9}\n?$`)
	f.Fuzz(func(t *testing.T, text []byte) {
		want := 0
		if len(text) <= 64 && form.Match(text) {
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			require.NoError(t, err)
			if n <= maxPID() {
				want = int(n)
			}
		}
		require.Equal(t, want, parsePID(text), "%q", text)
	})
}

// pidFileWith is a PID file that says text and that nobody holds.
func pidFileWith(t *testing.T, text string) (path string) {
	t.Helper()
	path = pidPath(t)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// held is the file at path, locked by somebody else than a daemon of ours. It stays so until the end of the test.
func held(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, filelock.TryLock(f))
	return f
}

// untouched remembers a file and what is in its directory. Calling it requires that nothing has changed.
func untouched(t *testing.T, path string) (requireUntouched func()) {
	t.Helper()
	type seen struct {
		Names []string
		Mode  fs.FileMode
		Time  string
		Size  int64
		Text  []byte
	}
	look := func() (fs.FileInfo, seen) {
		t.Helper()
		entries, err := os.ReadDir(filepath.Dir(path))
		require.NoError(t, err)
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		info, err := os.Lstat(path)
		if os.IsNotExist(err) {
			return nil, seen{Names: names}
		}
		require.NoError(t, err)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return info, seen{names, info.Mode(), info.ModTime().String(), info.Size(), text}
	}
	before, was := look()
	return func() {
		t.Helper()
		after, is := look()
		require.Equal(t, was, is)
		require.True(t, before == nil || os.SameFile(before, after), "%s is another file", path)
	}
}

// Row C5.
func TestWhatIsNoPIDNamesNobodyHeldOrNot(t *testing.T) {
	owner := os.Geteuid()
	for text := range noPIDs {
		path := pidFileWith(t, text)
		requireUntouched := untouched(t, path)
		require.Equal(t, holder{owner: owner}, mustLook(t, path), "%.70q, held by nobody", text)
		f := held(t, path)
		require.Equal(t, holder{held: true, owner: owner}, mustLook(t, path), "%.70q, held by a stranger", text)
		if filelock.Mark(f) == nil {
			require.Equal(t, holder{held: true, daemon: true, owner: owner}, mustLook(t, path), "%.70q, held by a daemon", text)
		}
		requireUntouched()
	}
	require.Equal(t, holder{}, mustLook(t, filepath.Join(t.TempDir(), "none")), "no file")
}

func TestANumberInAHeldFileCountsOnlyIfADaemonOfOursHoldsIt(t *testing.T) {
	const number = 4242
	path := pidFileWith(t, fmt.Sprintln(number))
	requireUntouched := untouched(t, path)
	owner := os.Geteuid()
	require.Equal(t, holder{number: number, owner: owner}, mustLook(t, path), "held by nobody")

	f := held(t, path)
	if _, blind := mustState(t, path); blind {
		t.Skip("marks cannot be seen on this system, so the number decides")
	}
	require.Equal(t, holder{held: true, number: number, owner: owner}, mustLook(t, path), "held by a stranger")
	require.NoError(t, filelock.Mark(f))
	require.Equal(t, holder{held: true, daemon: true, known: true, pid: number, number: number, owner: owner, guessed: true}, mustLook(t, path),
		"held by a daemon that has lost its name")
	requireUntouched()
}

func mustLook(t *testing.T, path string) holder {
	t.Helper()
	h, err := lookAt(path)
	require.NoError(t, err)
	return h
}

func mustState(t *testing.T, path string) (state filelock.State, blind bool) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	state, err = filelock.Look(f)
	require.NoError(t, err)
	return state, state.Blind
}

// Row C5.
func TestNoMoreThanAPIDFileCanHoldIsRead(t *testing.T) {
	const size = 64 << 20
	path := pidFileWith(t, "")
	require.NoError(t, os.Truncate(path, size))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.Zero(t, mustLook(t, path).number)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size/2))
}

func TestAPIDFileThatEverybodyCanWriteIsNotRead(t *testing.T) {
	path := pidFileWith(t, "1\n")
	require.NoError(t, os.Chmod(path, 0o646))
	_, err := lookAt(path)
	require.ErrorIs(t, err, ErrUnsafePIDFile)
	_, err = Find(path)
	require.ErrorIs(t, err, ErrUnsafePIDFile)
	require.ErrorContains(t, err, path)
}

// TestALookNeverMakesAStartFail has two who look as fast as they can, at a stale file and at none.
func TestALookNeverMakesAStartFail(t *testing.T) {
	t.Parallel()
	path := pidPath(t)
	over := make(chan struct{})
	done := make(chan error, 2)
	for range cap(done) {
		go func() {
			for {
				select {
				case <-over:
					done <- nil
					return
				default:
				}
				if _, err := lookAt(path); err != nil {
					done <- err
					return
				}
				runtime.Gosched()
			}
		}()
	}
	for round := range 6 {
		p := start(t, daemon, "pidfile="+path)
		p.await("msg=ready")
		if round%2 == 0 {
			p.signal(syscall.SIGKILL) // leaves the file to the next one
			require.Equal(t, -1, p.wait())
			continue
		}
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.wait())
	}
	close(over)
	for range cap(done) {
		require.NoError(t, <-done)
	}
}

// lookingDaemon looks at its own PID file while it lives, which must not cost it its name.
var lookingDaemon = registerProgram("looking daemon", func(args []string) int {
	path := args[0]
	err := Run(func(ctx context.Context) error {
		h, err := lookAt(path)
		fmt.Println("looked:", h.pid == os.Getpid() && h.known && err == nil)
		if found, err := Find(path); err == nil {
			fmt.Println("found:", found.PID == os.Getpid())
			found.Close()
		}
		<-ctx.Done()
		return ctx.Err()
	}, Name("looking daemon"), PIDFile(path))
	return ExitCode(err)
})

func TestALookAtOurOwnPIDFileLeavesItsNameAlone(t *testing.T) {
	t.Parallel()
	path := pidPath(t)
	p := start(t, lookingDaemon, path)
	p.await("looked: true")
	p.await("found: true")
	require.Equal(t, holder{held: true, daemon: true, known: true, pid: p.pid(), number: p.pid(), owner: os.Geteuid()},
		mustLook(t, path))
	if state, blind := mustState(t, path); !blind {
		require.Equal(t, filelock.State{Held: true, Marked: true, Named: true, PID: p.pid()}, state)
	}
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
}

// searchingDaemon asks who runs from beside its own life, from before its start to after its end.
var searchingDaemon = registerProgram("searching daemon", func(args []string) int {
	path := args[0]
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			default:
			}
			if h, err := lookAt(path); err != nil || h.held && h.known && h.pid != os.Getpid() {
				fmt.Println("a wrong answer:", h, err)
			}
		}
	}()
	err := Run(nil, Name("searching daemon"), PIDFile(path))
	close(over)
	<-done
	return ExitCode(err)
})

func TestALookFromBesideAStartIsSafe(t *testing.T) {
	t.Parallel()
	for range 3 {
		path := pidPath(t)
		p := start(t, searchingDaemon, path)
		p.await("ready pid=")
		if state, blind := mustState(t, path); !blind {
			require.Equal(t, filelock.State{Held: true, Marked: true, Named: true, PID: p.pid()}, state)
		}
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.wait(), "%s", p.out)
		require.Zero(t, p.out.count("a wrong answer"), "%s", p.out)
	}
}
