package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/monotonic"
	"example.com/lifecycle/internal/safefile"
	"example.com/lifecycle/internal/statefile"
)

// speaker is a daemon that says more than the program daemon, in the words of a file:
//
//	speaker PIDFILE FILE [verb …]
//
// It has two components. The OnStart and the OnReload of the second one read the file: "error: TEXT" fails with that text, and
// anything else becomes the status text.
var speaker = registerProgram("speaker", func(args []string) int {
	speak := func(ctx context.Context) error {
		text, err := os.ReadFile(args[1])
		if what, failed := strings.CutPrefix(string(text), "error: "); failed {
			return errors.New(what)
		}
		From(ctx).SetStatus(string(text))
		return err
	}
	return Main(args[2:], nil, Name("speaker"), Version("1.2"), PIDFile(args[0]), Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		With(Hooks{Name: "first", OnReload: behave("first.OnReload", "")}),
		With(Hooks{Name: "second", OnStart: speak, OnReload: speak}))
})

// startSpeaker starts a speaker, and waits until it is ready. say changes what it says at its next reload.
func startSpeaker(t *testing.T, text string) (p *process, pidfile, file string, say func(text string)) {
	t.Helper()
	pidfile, file = pidPath(t), filepath.Join(t.TempDir(), "text")
	say = func(text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	say(text)
	p = start(t, speaker, pidfile, file, "run")
	p.await("msg=ready")
	return p, pidfile, file, say
}

// stateOf is what the state file says that goes with a PID file of ours.
func stateOf(t *testing.T, pidfile string) (s Status) {
	t.Helper()
	var err error
	eventually(t, func() bool {
		s, err = readStateOnce(statePath(pidfile), os.Geteuid())
		return !errors.Is(err, statefile.ErrDamaged)
	}, "a whole record in %s", statePath(pidfile))
	require.NoError(t, err)
	return s
}

// writeState writes a state file as a daemon with that PID file would.
func writeState(t *testing.T, pidfile string, s Status) {
	t.Helper()
	require.NoError(t, os.WriteFile(statePath(pidfile), mustEncode(t, s), 0o644))
}

func TestTheStateFileIsNamedAfterThePIDFile(t *testing.T) {
	for pidFile, want := range map[string]string{
		"/run/echod.pid":     "/run/echod.state",
		"/run/echod":         "/run/echod.state",
		"/run/echod.lock":    "/run/echod.lock.state",
		"/run/echod.pid.pid": "/run/echod.pid.state",
		"/run/echod.pid.old": "/run/echod.pid.old.state",
		"/run/a.pid/echod":   "/run/a.pid/echod.state",
		"/run/.pid":          "/run/.state",
		"/run/echod.PID":     "/run/echod.PID.state",
	} {
		require.Equal(t, want, statePath(pidFile))
	}
}

func TestWhoReadsThePIDFindsTheState(t *testing.T) {
	t.Parallel()
	for range 10 {
		pidfile := pidPath(t)
		p := start(t, daemon, "pidfile="+pidfile)
		awaitPID(t, p, pidfile)
		require.Equal(t, p.pid(), stateOf(t, pidfile).PID)
		p.await("msg=ready")
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.wait())
		requireNothingLeft(t, pidfile)
	}
}

func TestAPIDFileWithAnotherNameHasAStateFileToo(t *testing.T) {
	t.Parallel()
	pidfile := filepath.Join(t.TempDir(), "daemon.lock")
	p := start(t, daemon, "pidfile="+pidfile)
	p.await("msg=ready")
	require.FileExists(t, pidfile+".state")
	require.Equal(t, p.pid(), stateOf(t, pidfile).PID)
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	requireNothingLeft(t, pidfile)
}

func TestADaemonWithoutPIDFileHasNoStateFile(t *testing.T) {
	t.Parallel()
	cmd := command(daemon, "pidfile=")
	cmd.Dir = t.TempDir()
	p := launch(t, cmd)
	p.await("msg=ready")
	requireNothingLeft(t, filepath.Join(cmd.Dir, "any"))
	p.signal(syscall.SIGHUP)
	p.await("msg=reloaded")
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	require.Zero(t, p.out.count("level=WARN"), "%s", p.out)
}

func TestTheStateFileHasTheModeOfThePIDFileWhateverTheUmask(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]fs.FileMode{"mode=": 0o644, "mode=600": 0o600, "mode=640": 0o640} {
		for _, umask := range []string{"0", "0777"} {
			pidfile := pidPath(t)
			p := launch(t, wrapped([]string{"sh", "-c", "umask " + umask + `; exec "$0" "$@"`}, daemon, "pidfile="+pidfile, mode))
			awaitPID(t, p, pidfile)
			info, err := os.Lstat(statePath(pidfile))
			require.NoError(t, err)
			require.Equal(t, want, info.Mode(), umask)
			p.await("msg=ready")
			p.signal(syscall.SIGTERM)
			require.Equal(t, 0, p.wait())
		}
	}
}

func TestAFailedStartLeavesNoStateFile(t *testing.T) {
	t.Parallel()
	for how, code := range map[string]int{"start=error": 1, "start=panic": 70, "run=error": 1} {
		pidfile := pidPath(t)
		require.Equal(t, code, callVerb(t, pidfile, how, "run").code)
		requireNothingLeft(t, pidfile)
	}
}

func TestAStateFileThatIsLeftIsReplacedAndNotWrittenTo(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	left := openForReading(t, statePath(pidfile)) // while it is open, no other file gets its inode
	p.signal(syscall.SIGKILL)
	p.wait()
	dead := stateOf(t, pidfile)
	require.Equal(t, p.pid(), dead.PID)
	require.Equal(t, Ready, dead.Phase)

	next := start(t, daemon, "pidfile="+pidfile)
	next.await("msg=ready")
	require.Equal(t, next.pid(), stateOf(t, pidfile).PID)
	same, err := safefile.Same(left, statePath(pidfile))
	require.NoError(t, err)
	require.False(t, same)
	record, err := io.ReadAll(left)
	require.NoError(t, err)
	require.Equal(t, dead, mustDecode(t, record))
	next.signal(syscall.SIGTERM)
	require.Equal(t, 0, next.wait())
	requireNothingLeft(t, pidfile)
}

// What a power loss leaves is empty, of zeros, or half written.
func TestADamagedStateFileIsReplaced(t *testing.T) {
	t.Parallel()
	record := mustEncode(t, fullStatus())
	for what, left := range map[string][]byte{
		"empty":   nil,
		"zeros":   make([]byte, statefile.Size),
		"torn":    append(bytes.Clone(record[:100]), make([]byte, statefile.Size-100)...),
		"changed": append(bytes.Clone(record[:statefile.Size-2]), "x\n"...),
		"newer":   sealed(`{"format":2,"phase":"hibernating"`),
	} {
		pidfile := pidPath(t)
		require.NoError(t, os.WriteFile(statePath(pidfile), left, 0o600))
		p := start(t, daemon, "pidfile="+pidfile)
		p.await("msg=ready")
		require.Equal(t, p.pid(), stateOf(t, pidfile).PID, what)
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.wait())
		require.Zero(t, p.out.count("level=WARN"), "%s", p.out)
		requireNothingLeft(t, pidfile)
	}
}

func TestWhoInsistsLeavesNoStateFile(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "stop=hang")
	p.signal(syscall.SIGTERM)
	p.await("OnStop")
	require.Equal(t, Stopping, stateOf(t, pidfile).Phase)
	p.insist()
	requireExited(t, p, 1)
	if p.out.count("another stop signal: quitting at once") == 0 {
		t.Skip("this machine is so slow that the time for removing the files was over")
	}
	requireNothingLeft(t, pidfile)
}

func TestTheStateFollowsTheLife(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gate := func(name string) string { return filepath.Join(dir, name) }
	pidfile := pidPath(t)
	p := start(t, daemon, "pidfile="+pidfile, "start=until:"+gate("start"), "reload=until:"+gate("reload"), "usr2=until:"+gate("usr2"),
		"run=until:"+gate("run"), "stop=until:"+gate("stop"), "exit=until:"+gate("exit"), "stoptimeout=40s")
	says := func(phase Phase, doing string) Status {
		t.Helper()
		s := stateOf(t, pidfile)
		require.Equal(t, phase, s.Phase)
		require.Equal(t, doing, s.Doing)
		require.Equal(t, 1, s.Format)
		require.Equal(t, "daemon", s.Name)
		require.Equal(t, p.pid(), s.PID)
		return s
	}

	p.await("OnStart")
	starting := says(Starting, "OnStart of daemon")
	require.Equal(t, starting.Started, starting.Since)
	require.Zero(t, starting.Ready)
	touch(t, gate("start"))

	p.await("msg=ready")
	ready := says(Ready, "")
	require.Equal(t, starting.Started, ready.Started)
	require.True(t, ready.Ready.After(ready.Started))
	require.Equal(t, ready.Ready, ready.Since)
	require.Zero(t, ready.Reloads)
	require.Nil(t, ready.LastReload)
	require.Nil(t, ready.LastReopen)
	require.Zero(t, ready.StopBy)

	asked := monotonic.Now()
	p.signal(syscall.SIGHUP)
	p.await("OnReload")
	reloading := says(Reloading, "OnReload of daemon")
	require.True(t, reloading.Since.After(ready.Since))
	require.Equal(t, ready.Ready, reloading.Ready)
	require.Nil(t, reloading.LastReload, "there is no verdict yet")
	touch(t, gate("reload"))
	p.await("msg=reloaded")
	reloaded := says(Ready, "")
	require.Equal(t, ready.Since, reloaded.Since, "it was ready all the time")
	require.Equal(t, 1, reloaded.Reloads)
	require.NoError(t, reloaded.LastReload.Err())
	require.GreaterOrEqual(t, reloaded.LastReload.Began, asked)
	require.LessOrEqual(t, reloaded.LastReload.Began+reloaded.LastReload.Took, monotonic.Now())
	require.True(t, reloaded.LastReload.At.After(reloading.Since))

	p.signal(syscall.SIGUSR2)
	p.await("OnSignal")
	says(Ready, "OnSignal(user defined signal 2) of daemon")
	touch(t, gate("usr2"))
	p.await("OnSignal done")
	eventually(t, func() bool { return stateOf(t, pidfile).Doing == "" }, "the end of OnSignal to be told")
	p.signal(syscall.SIGUSR1)
	p.await("nothing to reopen")
	require.NoError(t, says(Ready, "").LastReopen.Err())

	asked = monotonic.Now()
	p.signal(syscall.SIGTERM)
	p.await("OnStop")
	stopping := says(Stopping, "OnStop of daemon")
	require.GreaterOrEqual(t, stopping.StopBy, asked+45*time.Second, "the grace included")
	require.LessOrEqual(t, stopping.StopBy, monotonic.Now()+45*time.Second)
	touch(t, gate("stop"))
	eventually(t, func() bool { return stateOf(t, pidfile).Doing == "Run of daemon" }, "the body to be waited for")
	touch(t, gate("run"))
	p.await("OnExit")
	require.Equal(t, stopping.Since, says(Stopping, "OnExit of daemon").Since)
	touch(t, gate("exit"))
	require.Equal(t, 0, p.wait())
	requireNothingLeft(t, pidfile)
}

func TestAStopIsToldAtOnceThoughAHookHoldsItUp(t *testing.T) {
	t.Parallel()
	pidfile, gate := pidPath(t), filepath.Join(t.TempDir(), "gate")
	p := start(t, daemon, "pidfile="+pidfile, "start=until:"+gate)
	p.await("OnStart")
	p.signal(syscall.SIGTERM)
	eventually(t, func() bool { return stateOf(t, pidfile).Phase == Stopping }, "the stop to be told")
	require.Equal(t, "OnStart of daemon", stateOf(t, pidfile).Doing)
	touch(t, gate)
	require.Equal(t, 0, p.wait())
	requireNothingLeft(t, pidfile)
}

func TestTheStateHasTheVerdictOfTheLastReload(t *testing.T) {
	t.Parallel()
	p, pidfile, _, say := startSpeaker(t, "three clients")
	require.Equal(t, "three clients", stateOf(t, pidfile).Text)
	require.Equal(t, "1.2", stateOf(t, pidfile).Version)

	say("error: line 7: no such level")
	p.signal(syscall.SIGHUP)
	p.await("reload failed half-way")
	s := stateOf(t, pidfile)
	require.Equal(t, Ready, s.Phase)
	require.Equal(t, "three clients", s.Text)
	require.Equal(t, &Verdict{
		At: s.LastReload.At, Began: s.LastReload.Began, Took: s.LastReload.Took,
		Component: "second", Hook: "OnReload", Error: "line 7: no such level", Applied: []string{"first"},
	}, s.LastReload)

	say("four clients")
	p.signal(syscall.SIGHUP)
	p.await("msg=reloaded")
	s = stateOf(t, pidfile)
	require.Equal(t, "four clients", s.Text)
	require.Equal(t, 2, s.Reloads)
	require.NoError(t, s.LastReload.Err())
	require.Empty(t, s.LastReload.Applied)
}

// Each of these is where the state file is to be made. make returns what the log says of it.
var inTheWay = map[string]func(t *testing.T, path string) (why string){
	"a symbolic link": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path+".target", mustEncode(t, fullStatus()), 0o644))
		require.NoError(t, os.Symlink(path+".target", path))
		return "it is a symbolic link, not a regular file"
	},
	"a dangling link": func(t *testing.T, path string) string {
		require.NoError(t, os.Symlink(path+".target", path))
		return "it is a symbolic link, not a regular file"
	},
	"a hard link": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path+".target", mustEncode(t, fullStatus()), 0o644))
		require.NoError(t, os.Link(path+".target", path))
		return "it has 2 names (hard links)"
	},
	"a FIFO": func(t *testing.T, path string) string {
		require.NoError(t, syscall.Mkfifo(path, 0o644))
		return "it is a FIFO, not a regular file"
	},
	"a directory": func(t *testing.T, path string) string {
		require.NoError(t, os.Mkdir(path, 0o755))
		return "it is a directory, not a regular file"
	},
	"somebody's data": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path, []byte("precious"), 0o644))
		return "it is no state file of a daemon"
	},
	"as much data as a record": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("precious"), statefile.Size/8), 0o644))
		return "it is no state file of a daemon"
	},
	"more than a record": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path, append(mustEncode(t, fullStatus()), '\n'), 0o644))
		return "it is no state file of a daemon"
	},
	"a file that everybody can write": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path, mustEncode(t, fullStatus()), 0o644))
		require.NoError(t, os.Chmod(path, 0o666))
		return "everybody can write it (mode 0666)"
	},
}

// unchanged remembers all that is in the directory of a path, except the PID file, without opening what is no file. Calling it requires
// that nothing has changed.
func unchanged(t *testing.T, path, pidfile string) (requireUnchanged func()) {
	t.Helper()
	look := func() (all []string) {
		t.Helper()
		entries, err := os.ReadDir(filepath.Dir(path))
		require.NoError(t, err)
		for _, entry := range entries {
			name := filepath.Join(filepath.Dir(path), entry.Name())
			info, err := os.Lstat(name)
			require.NoError(t, err)
			content := ""
			switch {
			case name == pidfile:
				continue
			case info.Mode().IsRegular():
				text, err := os.ReadFile(name)
				require.NoError(t, err)
				content = string(text)
			case info.Mode()&fs.ModeSymlink != 0:
				content, err = os.Readlink(name)
				require.NoError(t, err)
			}
			all = append(all, fmt.Sprint(name, info.Mode(), info.ModTime(), info.Sys().(*syscall.Stat_t).Ino, safefile.Owner(info), content))
		}
		return all
	}
	before := look()
	return func() {
		t.Helper()
		require.Equal(t, before, look())
	}
}

func TestADaemonThatCannotHaveAStateFileLivesWithoutAndLeavesAloneWhatIsThere(t *testing.T) {
	t.Parallel()
	for what, put := range inTheWay {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			pidfile := pidPath(t)
			state := statePath(pidfile)
			why := put(t, state)
			requireUnchanged := unchanged(t, state, pidfile)
			p := start(t, daemon, "pidfile="+pidfile)
			p.await("msg=ready")
			requireLivesWithoutState(t, p, pidfile, "no state file: status and reload will know less", why)
			requireUnchanged()
		})
	}
}

// requireLivesWithoutState requires that a daemon says once what is wrong with its state file, and that nothing else is wrong.
func requireLivesWithoutState(t *testing.T, p *process, pidfile, warning, why string) {
	t.Helper()
	requireText(t, pidfile, fmt.Sprintln(p.pid()))
	requireUntold(t, p.pid(), pidfile, "")
	requireRefused(t, 1, alreadyRunning(p.pid()), pidfile)
	p.signal(syscall.SIGHUP)
	p.await("msg=reloaded")
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	require.NoFileExists(t, pidfile)
	require.Equal(t, 1, p.out.count(warning), "%s", p.out)
	require.Equal(t, 1, p.out.count("level=WARN"), "%s", p.out)
	require.Equal(t, 1, p.out.count(why), "%s", p.out)
}

func TestAReaderTriesForAMomentAndNoLonger(t *testing.T) {
	good := mustEncode(t, Status{PID: 4127})
	for what, c := range map[string]struct {
		left []byte // nil: no file
		mode fs.FileMode
		why  string
		took time.Duration
	}{
		"no file":           {nil, 0, "lstat: no such file or directory", statefile.RetryTime},
		"empty":             {[]byte{}, 0o644, "the record is damaged", statefile.RetryTime},
		"torn":              {append(bytes.Clone(good[:statefile.Size-2]), "x\n"...), 0o644, "the record is damaged", statefile.RetryTime},
		"of another format": {sealed(`{"format":2`), 0o644, "the record has format 2, where this program knows format 1", statefile.RetryTime},
		"of another":        {mustEncode(t, Status{PID: 4126}), 0o644, "it is of pid 4126, not of pid 4127", statefile.RetryTime},
		"unsafe":            {good, 0o666, "everybody can write it (mode 0666)", 0},
		"right":             {good, 0o644, "", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			pidfile := pidPath(t)
			if c.left != nil {
				require.NoError(t, os.WriteFile(statePath(pidfile), c.left, 0o600))
				require.NoError(t, os.Chmod(statePath(pidfile), c.mode))
			}
			begun := time.Now()
			s, err := readState(pidfile, sees(4127))
			require.InDelta(t, c.took, time.Since(begun), float64(2*time.Millisecond), what)
			if c.why == "" {
				require.NoError(t, err)
				require.Equal(t, 4127, s.PID)
				return
			}
			require.EqualError(t, err, "lifecycle: state file "+statePath(pidfile)+": "+c.why)
			require.Zero(t, s)
		})
	}
}

// sees is a look at a PID file of ours that says pid.
func sees(pid int) func() (holder, error) {
	return func() (holder, error) {
		return holder{Held: true, Number: pid, Owner: os.Geteuid()}, nil
	}
}

func TestAReaderReturnsAsSoonAsItCan(t *testing.T) {
	good := mustEncode(t, Status{PID: 4127})
	for what, before := range map[string][]byte{
		"no file":    nil,
		"torn":       make([]byte, statefile.Size),
		"of another": mustEncode(t, Status{PID: 4126}),
	} {
		synctest.Test(t, func(t *testing.T) {
			pidfile := pidPath(t)
			if before != nil {
				require.NoError(t, os.WriteFile(statePath(pidfile), before, 0o644))
			}
			begun := time.Now()
			time.AfterFunc(statefile.RetryTime/2, func() { os.WriteFile(statePath(pidfile), good, 0o644) })
			s, err := readState(pidfile, sees(4127))
			require.NoError(t, err, what)
			require.Equal(t, 4127, s.PID)
			require.InDelta(t, statefile.RetryTime/2, time.Since(begun), float64(2*time.Millisecond))
		})
	}
	synctest.Test(t, func(t *testing.T) {
		pidfile := pidPath(t)
		looks, gone := 0, errors.New("gone")
		_, err := readState(pidfile, func() (holder, error) {
			if looks++; looks == 3 {
				return holder{}, gone
			}
			return sees(4127)()
		})
		require.Equal(t, gone, err, "there is nobody any more whose state it could be")
		require.Equal(t, 3, looks)
	})
}

func TestAStateOfAnotherPIDIsNotThatOfTheDaemon(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	was := stateOf(t, pidfile)

	other := was
	other.PID++
	writeState(t, pidfile, other)
	requireUntold(t, p.pid(), pidfile, fmt.Sprintf("it is of pid %d, not of pid %d", p.pid()+1, p.pid()))
	writeState(t, pidfile, was)
	requireReady(t, p.pid(), verbHere(t, pidfile, "status"))

	require.NoError(t, os.WriteFile(pidfile, fmt.Appendln(nil, p.pid()+1), 0o644))
	if _, blind := mustState(t, pidfile); !blind {
		requireUntold(t, p.pid(), pidfile, fmt.Sprintf("it is of pid %d, not of pid %d", p.pid(), p.pid()+1))
	}
	require.NoError(t, os.WriteFile(pidfile, fmt.Appendln(nil, p.pid()), 0o644))
	requireReady(t, p.pid(), verbHere(t, pidfile, "status"))
}

func TestADaemonWithoutAStateThatCanBeReadIsRunningAllTheSame(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	f, err := os.OpenFile(statePath(pidfile), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("x"), 100)
	require.NoError(t, err)
	requireUntold(t, p.pid(), pidfile, "the record is damaged")

	require.NoError(t, os.Rename(statePath(pidfile), pidfile+".moved"))
	requireUntold(t, p.pid(), pidfile, "no such file or directory")
	require.Equal(t, 0, verbHere(t, pidfile, "status").code, "it runs")
	require.NoError(t, os.Rename(pidfile+".moved", statePath(pidfile)))
	p.signal(syscall.SIGHUP)
	p.await("msg=reloaded")
	requireReady(t, p.pid(), verbHere(t, pidfile, "status"))
}

// requireUntold requires that status says that the daemon runs, why it cannot say more, and that it may not be ready.
func requireUntold(t *testing.T, pid int, pidfile, why string) {
	t.Helper()
	got := verbHere(t, pidfile, "status", "--ready")
	want := fmt.Sprintf("daemon: running (pid %d); what it is doing cannot be told: state file %s: ", pid, statePath(pidfile))
	require.Equal(t, 150, got.code)
	require.Empty(t, got.stderr)
	require.True(t, strings.HasPrefix(got.stdout, want), got.stdout)
	require.True(t, strings.HasSuffix(got.stdout, why+"\n"), got.stdout)
	require.Equal(t, 1, strings.Count(got.stdout, "\n"))
}
