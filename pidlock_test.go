package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/pidfile"
)

// requireRefused requires that a start is refused with that exit code and text before anything of it has run.
func requireRefused(t *testing.T, code int, text, pidfile string, args ...string) {
	t.Helper()
	got := callVerb(t, pidfile, append(args, "run")...)
	require.Equal(t, code, got.code, "%s%s", got.stdout, got.stderr)
	require.Contains(t, got.stderr, text)
	require.NotContains(t, got.stdout, "OnStart")
}

func requireRunning(t *testing.T, pidfile string, pid int) {
	t.Helper()
	requireReady(t, pid, callVerb(t, pidfile, "status"))
}

// requireReady requires that this is how status answers for a daemon that is ready and has nothing else to say.
func requireReady(t *testing.T, pid int, got result) {
	t.Helper()
	require.Equal(t, 0, got.code, "%s%s", got.stdout, got.stderr)
	require.Empty(t, got.stderr)
	require.Regexp(t, fmt.Sprintf(`^daemon: ready \(pid %d\) for \d+[sm]\n$`, pid), got.stdout)
}

// requireStarts starts a daemon on that PID file and stops it.
func requireStarts(t *testing.T, pidfile string, args ...string) {
	t.Helper()
	p := start(t, daemon, append([]string{"pidfile=" + pidfile}, args...)...)
	p.await("msg=ready")
	requireText(t, pidfile, fmt.Sprintln(p.pid()))
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait(), "%s", p.out)
	require.NoFileExists(t, pidfile)
}

func alreadyRunning(pid int) string { return fmt.Sprintf("daemon: already running (pid %d)\n", pid) }

// Row A1.
func TestOfFiftyStartsOneWins(t *testing.T) {
	pidfile := pidPath(t)
	var all []*process
	for range 50 {
		all = append(all, start(t, daemon, "pidfile="+pidfile, "run"))
	}
	losers := make(chan *process, len(all))
	for _, p := range all {
		go func() {
			<-p.done
			losers <- p
		}()
	}
	lost := map[*process]bool{}
	eventually(t, func() bool {
		select {
		case p := <-losers:
			lost[p] = true
		default:
		}
		return len(lost) == len(all)-1
	}, "the end of all but one")
	for _, winner := range all {
		if lost[winner] {
			continue
		}
		winner.await("msg=ready")
		requireText(t, pidfile, fmt.Sprintln(winner.pid()))
		for p := range lost {
			require.Equal(t, 1, p.wait())
			said := strings.Replace(p.out.String(), ", not ready yet\n", "\n", 1) // as it was then
			require.Equal(t, alreadyRunning(winner.pid()), said, "and that is all it did")
		}
		winner.signal(syscall.SIGTERM)
		require.Equal(t, 0, winner.wait())
	}
	requireNothingLeft(t, pidfile)
}

// Row A3.
func TestAStartDuringOnStopIsRefused(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"stop", "exit"} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			gate := filepath.Join(t.TempDir(), "gate")
			p, pidfile := startDaemon(t, hook+"=until:"+gate)
			p.signal(syscall.SIGTERM)
			p.await(map[string]string{"stop": "OnStop", "exit": "OnExit"}[hook])
			requireRefused(t, 1, fmt.Sprintf("daemon: already running (pid %d), stopping\n", p.pid()), pidfile)
			require.Contains(t, callVerb(t, pidfile, "status").stdout, fmt.Sprintf("daemon: stopping (pid %d) for ", p.pid()))
			touch(t, gate)
			require.Equal(t, 0, p.wait())
			requireStarts(t, pidfile)
		})
	}
}

// heedful is a daemon whose OnStart waits until a stop is asked for and returns its argument then: "error" or "nil".
var heedful = registerProgram("heedful", func(args []string) int {
	return ExitCode(Run(nil, PIDFile(args[0]), OnStop(behave("OnStop", "")), OnExit(behave("OnExit", "")),
		OnStart(func(ctx context.Context) error {
			fmt.Println("OnStart")
			<-ctx.Done()
			fmt.Println("OnStart was told")
			if args[1] == "error" {
				return ctx.Err()
			}
			return nil
		})))
})

// Row A4.
func TestAStopDuringOnStartEndsItAndRollsBackWhatSucceeded(t *testing.T) {
	t.Parallel()
	for returns, stops := range map[string]int{"error": 0, "nil": 1} {
		t.Run(returns, func(t *testing.T) {
			t.Parallel()
			pidfile := pidPath(t)
			p := start(t, heedful, pidfile, returns)
			p.await("OnStart")
			require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
			requireNothingLeft(t, pidfile)
			require.Equal(t, 0, p.wait())
			require.Equal(t, 1, p.out.count("OnStart was told"))
			require.Equal(t, stops, p.out.count("OnStop done"))
			require.Equal(t, stops, p.out.count("OnExit done"))
			require.Zero(t, p.out.count("msg=ready"))
		})
	}
}

// Row A5.
func TestAStopOfADaemonThatCrashesAtThatMomentSucceeds(t *testing.T) {
	t.Parallel()
	t.Run("found before", func(t *testing.T) {
		p, pidfile := startDaemon(t)
		found, err := Find(pidfile)
		require.NoError(t, err)
		defer found.Close()
		p.signal(syscall.SIGKILL)
		p.wait()
		next := start(t, daemon, "pidfile="+pidfile)
		next.await("msg=ready")
		require.NoError(t, found.Stop(t.Context()))
		requireRunning(t, pidfile, next.pid()) // the one it was to stop is gone, and this is another
		require.Zero(t, next.out.count("msg=stopping"))
	})
	t.Run("races", func(t *testing.T) {
		for range 5 {
			p, pidfile := startDaemon(t)
			stop := start(t, daemon, "pidfile="+pidfile, "stop")
			p.signal(syscall.SIGKILL)
			require.Contains(t, []int{0, 7}, stop.wait(), "stopped, or not running: %s", stop.out)
			p.wait()
			requireStarts(t, pidfile)
		}
	})
}

// Row A6.
func TestTwoConcurrentStopsBothSucceed(t *testing.T) {
	t.Parallel()
	t.Run("both found it before", func(t *testing.T) {
		p, pidfile := startDaemon(t)
		var found [2]*Process
		for i := range found {
			var err error
			found[i], err = Find(pidfile)
			require.NoError(t, err)
			defer found[i].Close()
		}
		done := make(chan error)
		for _, daemon := range found {
			go func() { done <- daemon.Stop(t.Context()) }()
		}
		require.NoError(t, errors.Join(<-done, <-done))
		requireNothingLeft(t, pidfile)
		require.Equal(t, 0, p.wait())
		require.Equal(t, 1, p.out.count("OnStop done"))
		require.Equal(t, 1, p.out.count("OnExit done"))
	})
	t.Run("verbs", func(t *testing.T) {
		gate := filepath.Join(t.TempDir(), "gate")
		p, pidfile := startDaemon(t, "stop=until:"+gate)
		one := start(t, daemon, "pidfile="+pidfile, "stop")
		p.await("OnStop")
		two := start(t, daemon, "pidfile="+pidfile, "stop", "--oknodo") // it may come too late
		touch(t, gate)
		for _, stop := range []*process{one, two} {
			require.Equal(t, 0, stop.wait(), "%s", stop.out)
		}
		requireNothingLeft(t, pidfile)
		require.Equal(t, 0, p.wait())
		require.Equal(t, 1, p.out.count("OnStop done"))
	})
}

const lostWarning = "the PID file was deleted or replaced"

// Row A10.
func TestADaemonWhosePIDFileWasReplacedSaysSoOnceAndLeavesTheOtherAlone(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	other := filepath.Join(filepath.Dir(pidfile), "other")
	require.NoError(t, os.WriteFile(other, []byte("1\n"), 0o640))
	require.NoError(t, os.Rename(other, pidfile))
	for n := range 3 {
		p.signal(syscall.SIGHUP)
		p.await("msg=reloaded", n+1)
	}
	require.Equal(t, 1, p.out.count(lostWarning))
	require.Zero(t, p.out.count("msg=stopping"), "it goes on")
	state, err := lastState(pidfile)
	require.NoError(t, err)
	require.True(t, state.PIDFileLost)
	status := callVerb(t, pidfile, "status")
	require.Equal(t, 1, status.code)
	require.Contains(t, status.stdout, fmt.Sprintf("\n  pid %d, which may still run, has seen its PID file deleted or replaced", p.pid()))

	require.NoError(t, os.Remove(statePath(pidfile)))
	requireUntouched := untouched(t, pidfile)
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	require.Equal(t, 1, p.out.count(lostWarning))
	requireUntouched()
}

// That a second start is not refused then is the limit of any lock on a file that its owner deletes. It is not silent.
// Row A11.
func TestADaemonWhosePIDFileWasDeletedSaysSoAndLeavesThatOfTheNextAlone(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"at its next signal", "at its end"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			p, pidfile := startDaemon(t)
			require.NoError(t, os.Remove(pidfile))
			next := start(t, daemon, "pidfile="+pidfile)
			next.await("msg=ready")
			if when == "at its next signal" {
				p.signal(syscall.SIGUSR2)
				p.await(lostWarning)
			}
			p.signal(syscall.SIGTERM)
			require.Equal(t, 0, p.wait())
			require.Equal(t, 1, p.out.count(lostWarning))

			requireRunning(t, pidfile, next.pid())
			next.signal(syscall.SIGTERM)
			require.Equal(t, 0, next.wait())
			require.Zero(t, next.out.count(lostWarning))
			requireNothingLeft(t, pidfile)
		})
	}
}

// Row A12.
func TestAHardLinkIsRefused(t *testing.T) {
	t.Parallel()
	t.Run("of a stale file", func(t *testing.T) {
		pidfile := pidFileWith(t, "12345\n")
		link := filepath.Join(filepath.Dir(pidfile), "link.pid")
		require.NoError(t, os.Link(pidfile, link))
		requireUnsafe(t, pidfile, "it has 2 names (hard links)")
		requireUnsafe(t, link, "it has 2 names (hard links)")
		require.NoError(t, os.Remove(link))
		requireStarts(t, pidfile)
	})
	t.Run("of a file in use", func(t *testing.T) {
		p, pidfile := startDaemon(t)
		link := filepath.Join(filepath.Dir(pidfile), "link.pid")
		require.NoError(t, os.Link(pidfile, link))
		requireUnsafe(t, pidfile, "it has 2 names (hard links)")
		requireUnsafe(t, link, "it has 2 names (hard links)")
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.wait())
		require.NoFileExists(t, pidfile)
		requireText(t, link, "")
	})
}

// Row A15.
func TestAnotherDaemonOnTheSamePIDFileIsRefusedAndToldByWhom(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "name=alpha")
	got := callVerb(t, pidfile, "name=beta", "run")
	require.Equal(t, result{"", fmt.Sprintf("beta: already running (pid %d)\n", p.pid()), 1}, got)
	requireText(t, pidfile, fmt.Sprintln(p.pid()))
}

func TestAlreadyRunningErrorSaysWhoAndWhere(t *testing.T) {
	for text, err := range map[string]*AlreadyRunningError{
		"lifecycle: already running (pid 4711), PID file /run/x.pid":               {PID: 4711, PIDFile: "/run/x.pid"},
		"lifecycle: already running (pid not known here), PID file /run/x.pid":     {PIDFile: "/run/x.pid"},
		"lifecycle: already running in this process (pid 4711): one Run at a time": {PID: 4711, here: true},
	} {
		require.EqualError(t, err, text)
		require.ErrorIs(t, err, ErrAlreadyRunning)
	}
}

// Row B1.
func TestAMissingDirectoryIsNamedAndNotMade(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "missing")
	pidfile := filepath.Join(dir, "daemon.pid")
	requireRefused(t, 1, "no such file or directory (the directory "+dir+" must exist)\n", pidfile)
	require.NoDirExists(t, dir)
	require.Equal(t, result{notRunning(pidfile), "", 3}, callVerb(t, pidfile, "status"))
}

// Row B3.
func TestAFileOnTheWayIsNoDirectory(t *testing.T) {
	t.Parallel()
	file := pidFileWith(t, "untouched")
	requireUntouched := untouched(t, file)
	pidfile := filepath.Join(file, "daemon.pid")
	requireRefused(t, 1, "start failed: PID file "+pidfile, pidfile)
	requireRefused(t, 1, "not a directory", pidfile)
	got := callVerb(t, pidfile, "status")
	require.Equal(t, 4, got.code)
	require.Contains(t, got.stdout+got.stderr, "not a directory")
	requireUntouched()
}

// requireUnsafe requires that no verb takes what is at pidfile, and that none changes anything.
func requireUnsafe(t *testing.T, pidfile, why string) {
	t.Helper()
	before, err := os.Lstat(pidfile)
	require.NoError(t, err)
	for verb, code := range map[string]int{"run": 1, "status": 4, "stop": 1, "reload": 1} {
		got := callVerb(t, pidfile, verb)
		require.Equal(t, code, got.code, verb)
		require.Contains(t, got.stdout+got.stderr, fmt.Sprintf(": unsafe PID file %s: %s\n", pidfile, why), verb)
		require.Equal(t, 1, strings.Count(got.stdout+got.stderr, "\n"), "and that is all it says or does")
	}
	after, err := os.Lstat(pidfile)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.Equal(t, before.ModTime(), after.ModTime())
	require.Equal(t, before.Mode(), after.Mode())
}

// Row B4.
func TestADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	pidfile := pidPath(t)
	require.NoError(t, os.Mkdir(pidfile, 0o755))
	requireUnsafe(t, pidfile, "it is a directory, not a regular file")
}

// Row B5.
func TestAFIFOIsRefusedAndNobodyHangs(t *testing.T) {
	t.Parallel()
	pidfile := pidPath(t)
	require.NoError(t, syscall.Mkfifo(pidfile, 0o644))
	requireUnsafe(t, pidfile, "it is a FIFO, not a regular file")
}

// Row B6.
func TestASocketOrADeviceIsRefused(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "lifecycle") // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	pidfile := filepath.Join(dir, "daemon.pid")
	socket, err := net.Listen("unix", pidfile)
	require.NoError(t, err)
	defer socket.Close()
	requireUnsafe(t, pidfile, "it is a socket, not a regular file")

	requireRefused(t, 1, "unsafe PID file /dev/null: it is a device, not a regular file\n", os.DevNull)
	require.Equal(t, 4, callVerb(t, os.DevNull, "status").code)
}

// Row B7.
func TestASymbolicLinkIsRefusedAndItsTargetUntouched(t *testing.T) {
	t.Parallel()
	t.Run("live", func(t *testing.T) {
		target, pidfile := pidFileWith(t, "untouched"), pidPath(t)
		requireUntouched := untouched(t, target)
		require.NoError(t, os.Symlink(target, pidfile))
		requireUnsafe(t, pidfile, "it is a symbolic link, not a regular file")
		requireUntouched()
	})
	t.Run("dangling", func(t *testing.T) {
		target, pidfile := pidPath(t), pidPath(t)
		require.NoError(t, os.Symlink(target, pidfile))
		requireUnsafe(t, pidfile, "it is a symbolic link, not a regular file")
		requireNothingLeft(t, target)
	})
	t.Run("to the file of a running daemon", func(t *testing.T) {
		p, target := startDaemon(t)
		pidfile := pidPath(t)
		require.NoError(t, os.Symlink(target, pidfile))
		requireUnsafe(t, pidfile, "it is a symbolic link, not a regular file")
		requireRunning(t, target, p.pid())
	})
}

// Row B17.
func TestAnyPathThatTheSystemTakesWorks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"with spaces .pid", "Dämon – %s \\ \"quoted\" 'x' $HOME;.pid", "-pidfile", ".pid"} {
		pidfile := filepath.Join(t.TempDir(), name)
		p := start(t, daemon, "pidfile="+pidfile)
		p.await("msg=ready")
		requireRunning(t, pidfile, p.pid())
		require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
		require.Equal(t, 0, p.wait())
		requireNothingLeft(t, pidfile)
	}
}

// Row B17.
func TestAPathThatIsTooLongOrCannotBePrintedIsRefused(t *testing.T) {
	t.Parallel()
	long := filepath.Join(t.TempDir(), strings.Repeat("n", 256)+".pid")
	requireRefused(t, 1, "file name too long\n", long)
	requireNothingLeft(t, long)
	requireRefused(t, 1, "start failed: PID file /path/path", "/"+strings.Repeat("path/", 1000)+"daemon.pid")

	for _, path := range []string{"/run/a\nb.pid", "/run/\x1b[2J.pid", "/run/a\x00.pid", "/run/\x7f.pid", "a\tb"} {
		err := Run(nil, PIDFile(path))
		abs, absErr := filepath.Abs(path)
		require.NoError(t, absErr)
		require.EqualError(t, err, fmt.Sprintf("lifecycle: wrong option: PIDFile(%q): %q is a path with a control character", path, abs))
	}
}

// wanderer is a daemon with a relative path that leaves its working directory.
var wanderer = registerProgram("wanderer", func(args []string) int {
	return ExitCode(Run(nil, PIDFile(args[0]), OnStart(func(context.Context) error { return os.Chdir("/") })))
})

// Row B18.
func TestARelativePathIsTakenFromWhereTheProgramWasStarted(t *testing.T) {
	t.Parallel()
	pidfile := pidPath(t)
	cmd := command(wanderer, "./"+filepath.Base(pidfile))
	cmd.Dir = filepath.Dir(pidfile)
	p := launch(t, cmd)
	p.await("ready pid=")
	requireRunning(t, pidfile, p.pid())
	status := command(daemon, "pidfile="+filepath.Base(pidfile), "status")
	status.Dir = filepath.Dir(pidfile)
	requireReady(t, p.pid(), runCommand(t, status))
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	requireNothingLeft(t, pidfile)
}

// What a power loss leaves is a file that is empty, or says what was true before.
// Row B20.
func TestAnEmptyOrStaleFileIsTakenOverInPlace(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":        "",
		"stale":        "4194304\n",
		"of our own":   fmt.Sprintln(os.Getpid()),
		"longer":       strings.Repeat("9", 20) + "\n",
		"garbage":      "\x00\x00\x00\x00",
		"of one block": strings.Repeat("\x00", 4096),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pidfile := pidFileWith(t, text)
			before, err := os.Stat(pidfile)
			require.NoError(t, err)
			p := start(t, daemon, "pidfile="+pidfile)
			p.await("msg=ready")
			requireText(t, pidfile, fmt.Sprintln(p.pid()))
			after, err := os.Stat(pidfile)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
			p.signal(syscall.SIGTERM)
			require.Equal(t, 0, p.wait())
			requireNothingLeft(t, pidfile)
		})
	}
}

// Row E19.
func TestThePIDFileHasExactlyTheModeThatWasAskedFor(t *testing.T) {
	t.Parallel()
	for _, mode := range []fs.FileMode{0o644, 0o600, 0o755} {
		for _, umask := range []string{"0", "0777"} {
			for _, stale := range []fs.FileMode{0, 0o664} {
				t.Run(fmt.Sprintf("%o less %s over %o", mode, umask, stale), func(t *testing.T) {
					t.Parallel()
					pidfile := pidPath(t)
					if stale != 0 {
						require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o600))
						require.NoError(t, os.Chmod(pidfile, stale))
					}
					p := launch(t, wrapped([]string{"sh", "-c", "umask " + umask + `; exec "$0" "$@"`},
						daemon, "pidfile="+pidfile, fmt.Sprintf("mode=%o", mode)))
					p.await("msg=ready")
					info, err := os.Stat(pidfile)
					require.NoError(t, err)
					require.Equal(t, mode, info.Mode())
					p.signal(syscall.SIGTERM)
					require.Equal(t, 0, p.wait())
				})
			}
		}
	}
}

// Row E19.
func TestAFileThatEverybodyCanWriteIsRefused(t *testing.T) {
	t.Parallel()
	pidfile := pidFileWith(t, fmt.Sprintln(os.Getpid()))
	require.NoError(t, os.Chmod(pidfile, 0o666))
	requireUntouched := untouched(t, pidfile)
	_, err := Find(pidfile)
	require.ErrorIs(t, err, ErrUnsafePIDFile)
	err = Run(nil, PIDFile(pidfile))
	require.ErrorIs(t, err, ErrUnsafePIDFile)
	require.ErrorContains(t, err, "everybody can write it (mode 0666)")
	require.NotErrorIs(t, err, ErrAlreadyRunning)
	requireUntouched()
}

func TestPIDFileModeIsThatOfAFileWhichItsOwnerWritesAndNobodyElse(t *testing.T) {
	for _, mode := range []fs.FileMode{0, 0o400, 0o200, 0o444, 0o666, 0o660, 0o602, 0o1644, 0o644 | fs.ModeDir, fs.ModeSetuid | 0o600} {
		require.ErrorContains(t, Run(nil, PIDFile(""), PIDFileMode(mode)), "the owner must be able to read and write the file and nobody else to write it")
	}
}

func TestAForeignLockIsToldFromADaemon(t *testing.T) {
	needs(t, "linux") // elsewhere nothing tells them apart
	t.Parallel()
	pidfile := pidFileWith(t, fmt.Sprintln(os.Getpid()))
	requireUntouched := untouched(t, pidfile)
	foreign := held(t, pidfile)
	requireRefused(t, 1, "start failed: PID file "+pidfile+": locked by another program", pidfile)
	status := callVerb(t, pidfile, "status")
	require.Equal(t, 4, status.code)
	require.Contains(t, status.stdout, "locked by another program")
	require.Equal(t, 1, callVerb(t, pidfile, "stop").code, "and so nobody is signalled")
	requireUntouched()
	require.NoError(t, foreign.Close())
	requireStarts(t, pidfile)
}

func TestAForeignSharedLockKeepsAStartOutToo(t *testing.T) {
	t.Parallel()
	pidfile := pidFileWith(t, "12345\n")
	requireUntouched := untouched(t, pidfile)
	f := openForReading(t, pidfile)
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_SH))
	requireRefused(t, 1, "locked by another program", pidfile)
	require.Equal(t, result{fmt.Sprintf("daemon: dead: pid 12345 left %s\n", pidfile), "", 1}, callVerb(t, pidfile, "status"))
	requireUntouched()
}

// An application that reads its own PID file costs it the name; see filelock.
func TestADaemonThatReadItsOwnPIDFileIsFoundByTheNumber(t *testing.T) {
	t.Parallel()
	pidfile := pidPath(t)
	p := start(t, daemon, "pidfile="+pidfile, "usr2=cat:"+pidfile)
	p.await("msg=ready")
	p.signal(syscall.SIGUSR2)
	p.await(fmt.Sprintf("OnSignal says: %d", p.pid()))
	p.await("OnSignal done")

	found, err := Find(pidfile)
	require.NoError(t, err)
	require.Equal(t, p.pid(), found.PID)
	require.NoError(t, found.Close())
	requireRunning(t, pidfile, p.pid())
	requireRefused(t, 1, alreadyRunning(p.pid()), pidfile)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	require.Equal(t, 0, p.wait())
}

// forker starts a child that outlives it, in OnStart.
var forker = registerProgram("forker", func(args []string) int {
	return ExitCode(Run(nil, PIDFile(args[0]), OnStart(func(context.Context) error {
		child := command(idle)
		err := child.Start()
		fmt.Println("child:", child.Process.Pid)
		return err
	})))
})

func startForker(t *testing.T) (p *process, child *os.Process, pidfile string) {
	t.Helper()
	programsUsed.Store(idle, true)
	pidfile = pidPath(t)
	p = start(t, forker, pidfile)
	p.await("ready pid=")
	_, text, _ := strings.Cut(p.out.String(), "child: ")
	var pid int
	_, err := fmt.Sscan(text, &pid)
	require.NoError(t, err)
	child, err = os.FindProcess(pid)
	require.NoError(t, err)
	t.Cleanup(func() { child.Kill() })
	return p, child, pidfile
}

// Rows E1, E2.
func TestAChildThatOutlivesTheDaemonDoesNotKeepTheLock(t *testing.T) {
	t.Parallel()
	p, child, pidfile := startForker(t)
	p.signal(syscall.SIGKILL)
	p.wait()
	require.NoError(t, child.Signal(syscall.Signal(0)), "it lives")
	require.Equal(t, 1, callVerb(t, pidfile, "status").code, "dead, and its file is left")
	requireStarts(t, pidfile)
	require.NoError(t, child.Signal(syscall.Signal(0)), "and still does")
}

// Row B13.
func TestAPIDFileThatCanNeitherBeRemovedNorEmptiedIsStale(t *testing.T) {
	t.Parallel()
	var said lines
	pidfile := pidPath(t)
	lock, err := takePIDFile(pidfile)
	require.NoError(t, err)
	require.NoError(t, lock.File().Close())
	l, err := newLife(nil, []Option{Embedded(), Logger(slog.New(slog.NewTextHandler(&said, nil)))})
	require.NoError(t, err)
	l.lock = lock
	l.leave()
	require.Equal(t, 1, said.count("cannot remove the PID file, nor empty it"))
	require.Equal(t, 1, callVerb(t, pidfile, "status").code)
	requireStarts(t, pidfile)
}

// takePIDFile is how a daemon takes its PID file, without the state file.
func takePIDFile(path string) (*pidfile.Lock, error) {
	c := &config{}
	c.pidFile, c.pidFileMode = path, 0o644
	lock, err := c.acquireLock()
	if err != nil {
		return nil, err
	}
	if err := lock.WritePID(); err != nil {
		_, _ = lock.Release()
		return nil, err
	}
	return lock, nil
}

func TestWhatAKilledDaemonHasLeftIsRemovedOnlyUnderTheLockAndOnlyWhereAStartWouldTakeIt(t *testing.T) {
	t.Parallel()
	stale := func(t *testing.T) (c *config, path string) {
		path = pidFileWith(t, "4242\n")
		c, err := newConfig(nil, []Option{PIDFile(path)})
		require.NoError(t, err)
		return c, path
	}
	for what, spoil := range map[string]func(t *testing.T, path string){
		"locked":    func(t *testing.T, path string) { held(t, path) },
		"writable":  func(t *testing.T, path string) { require.NoError(t, os.Chmod(path, 0o646)) },
		"two names": func(t *testing.T, path string) { require.NoError(t, os.Link(path, path+".other")) },
		"a link": func(t *testing.T, path string) {
			require.NoError(t, os.Rename(path, path+".other"))
			require.NoError(t, os.Symlink(path+".other", path))
		},
		"missing": func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
	} {
		t.Run(what, func(t *testing.T) {
			c, path := stale(t)
			spoil(t, path)
			requireUntouched := untouched(t, path)
			c.releaseStale()
			requireUntouched()
		})
	}

	c, path := stale(t)
	record, err := Status{PID: 4242}.encode()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(statePath(path), record, 0o644))
	c.releaseStale()
	requireNothingLeft(t, path)
}
