package lifecycle

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/filelock"
)

// victim says each signal that it gets.
var victim = registerProgram("victim", func([]string) int {
	signals := make(chan os.Signal, 100)
	signal.Notify(signals)
	fmt.Println("listens")
	for sig := range signals {
		if sig != syscall.SIGURG { // the Go runtime sends it to itself
			fmt.Println("got", sig)
		}
	}
	return 0
})

// startVictim starts a process that must not be signalled. requireUntouched requires that it was not.
func startVictim(t *testing.T) (pid int, requireUntouched func()) {
	t.Helper()
	p := start(t, victim)
	p.await("listens")
	return p.pid(), func() {
		t.Helper()
		require.Contains(t, []string{"S (sleeping)", "R (running)"}, statusField(t, p.pid(), "State"))
		p.signal(syscall.SIGUSR2) // what came before it is said before it
		p.await("got user defined signal 2")
		require.Equal(t, "listens\ngot user defined signal 2\n", p.out.String())
	}
}

// callHere calls a verb in this process: what would start something is refused here, and only after everything else.
func callHere(pidfile, verb string) result {
	l, err := newLife(nil, []Option{Name("daemon"), PIDFile(pidfile), OnReload(func(context.Context) error { return nil })})
	if err != nil {
		return result{stderr: err.Error(), code: -1}
	}
	var stdout, stderr bytes.Buffer
	code := program{life: l, stdout: &stdout, stderr: &stderr}.main([]string{verb})
	return result{stdout.String(), stderr.String(), code}
}

// Rows C3, C4, C5, C6, C8, L2.
func TestNoVerbSignalsWhoDoesNotHoldTheLock(t *testing.T) {
	t.Parallel()
	pid, requireUntouched := startVictim(t)
	number, group := fmt.Sprintln(pid), fmt.Sprintln(-pid)
	inUse := map[string]int{"stop": 1, "restart": 1, "try-restart": 1, "reload": 1, "force-reload": 1, "reopen": 1, "status": 4}
	elsewhere := maps.Clone(inUse) // a daemon runs, but who it is cannot be told
	elsewhere["status"] = 0
	free := map[string]int{"stop": 7, "restart": 1, "try-restart": 0, "reload": 7, "force-reload": 7, "reopen": 7, "status": 3}
	stale := maps.Clone(free)
	stale["status"] = 1
	mark := func(f *os.File) { require.NoError(t, filelock.LockPresence(f)) }

	type row struct {
		what, content string
		plant         func(path string)
		codes         map[string]int
	}
	rows := []row{
		{"locked by a stranger", number, func(path string) { held(t, path) }, inUse},
		{"locked by a stranger", group, func(path string) { held(t, path) }, inUse},
		// It takes the right to write the file, which a group may have.
		{"held and marked by a stranger", number, func(path string) { mark(held(t, path)) }, elsewhere},
		{"held and marked by a stranger", group, func(path string) { mark(held(t, path)) }, inUse},
		{"marked, but locked by nobody", number, func(path string) { mark(openForWriting(t, path)) }, elsewhere},
		{"squatted on by a reader", number, func(path string) {
			require.NoError(t, syscall.Flock(int(squat(t, path).Fd()), syscall.LOCK_SH))
		}, stale},
		{"with 1 GB of nothing behind it", number, func(path string) { require.NoError(t, os.Truncate(path, 1<<30)) }, free},
	}
	if os.Geteuid() == 0 {
		ofAnother := func(path string) {
			require.NoError(t, os.Chown(path, service, service))
			mark(held(t, path))
		}
		rows = append(rows, row{"of another user, who holds and marks it", number, ofAnother, inUse})
	}
	for _, text := range []string{number, fmt.Sprintln(os.Getpid())} {
		rows = append(rows, row{"held by nobody", text, func(string) {}, stale})
	}
	for _, text := range []string{
		"", "0\n", "-1\n", group, fmt.Sprintln(1<<32 + pid), fmt.Sprintf("pid=%d\n", pid), fmt.Sprintf("%d\n%d\n", pid, pid), "\x7fELF\x02\x01\x01\x00", strings.Repeat("9", 1<<20),
	} {
		rows = append(rows, row{"held by nobody", text, func(string) {}, free})
	}

	type answer struct {
		row  row
		verb string
		got  result
	}
	answers := make(chan answer)
	asked := 0
	var requireFiles []func()
	for _, r := range rows {
		path := pidFileWith(t, r.content)
		r.plant(path)
		if info, err := os.Stat(path); err == nil && info.Size() < 1<<30 {
			requireFiles = append(requireFiles, untouched(t, path))
		}
		for verb := range r.codes {
			asked++ // all at once, for as long as it cannot be told who holds a file they wait
			go func() { answers <- answer{r, verb, callHere(path, verb)} }()
		}
	}
	for range asked {
		a := <-answers
		require.Equal(t, a.row.codes[a.verb], a.got.code, "%s: %.30q %s: %s%s", a.verb, a.row.content, a.row.what, a.got.stdout, a.got.stderr)
	}
	for _, requireFile := range requireFiles {
		requireFile()
	}
	requireUntouched()
}

func openForWriting(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// Row L2.
func TestRootStopsADaemonOfAnotherUserByAnyVerbAndRestartsNoneThatItMayNotStart(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	dir := nobodys(t)
	pidfile := filepath.Join(dir, "daemon.pid")
	p := start(t, asNobody, "pidfile="+pidfile)
	p.await("msg=ready")
	for _, verb := range []string{"reload", "force-reload"} {
		got := callVerb(t, pidfile, verb)
		require.Equal(t, 0, got.code, got.stderr)
	}
	require.Equal(t, 0, callVerb(t, pidfile, "reopen").code)
	for _, verb := range []string{"restart", "try-restart"} {
		got := callVerb(t, pidfile, verb)
		require.Equal(t, result{"", fmt.Sprintf("daemon: restart: unsafe PID file %s: the directory %s on the way belongs to user %d\n", pidfile, dir, nobody), 1}, got,
			"root could not start it, so it is not stopped either")
	}
	requireRunning(t, pidfile, p.pid())
	require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	require.Equal(t, 0, p.wait())
	requireNothingLeft(t, pidfile)
}

// locker is a user without rights who locks what he can read, under a name that a terminal would take for a command.
var locker = registerProgram("locker", func(args []string) int {
	name := append([]byte("a\x1b[2J\nroot"), 0)
	err := errors.Join(os.WriteFile("/proc/self/comm", name, 0), syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody))
	f, openErr := os.Open(args[0])
	if err = errors.Join(err, openErr); err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	fmt.Println("locked:", err)
	if err != nil {
		return 1
	}
	select {}
})

// inMemory is a place for a PID file on a tmpfs, which has the device number in /proc/locks that it has elsewhere.
func inMemory(t *testing.T) (pidfile string) {
	t.Helper()
	dir := onTmpfs(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	return filepath.Join(dir, "daemon.pid")
}

// Row L4.
func TestWhoLocksAStaleFileThatHeCanReadIsNamed(t *testing.T) {
	programsUsed.Store(locker, true)
	needs(t, "root")
	t.Parallel()
	pidfile := inMemory(t)
	require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o644))
	requireUntouched := untouched(t, pidfile)
	attacker := start(t, locker, pidfile)
	attacker.await("locked: <nil>")
	want := fmt.Sprintf("locked by another program (pid %d, a\ufffd[2J root)\n", attacker.pid())
	want = "PID file " + pidfile + ": " + want
	again := start(t, daemon, "pidfile="+pidfile, "start", "--oknodo")
	each(t, map[string]result{
		"run":    {"", "daemon: start failed: " + want, 1},
		"start":  {"", "daemon: start failed: " + want, 1},
		"stop":   {"", "daemon: stop: " + want, 1},
		"status": {"daemon: unknown: " + want, "", 4},
	}, pidfile)
	require.Equal(t, 1, again.wait(), "that he locks it does not mean that one is running")
	requireUntouched()
	attacker.signal(syscall.SIGKILL)
	attacker.wait()
	requireStarts(t, pidfile)
}

// Row L4.
func TestWhoCannotReadTheFileCannotLockIt(t *testing.T) {
	programsUsed.Store(locker, true)
	needs(t, "root")
	t.Parallel()
	pidfile := inMemory(t)
	p := start(t, daemon, "pidfile="+pidfile, "mode=0600")
	p.await("msg=ready")
	p.signal(syscall.SIGKILL)
	p.wait()
	attacker := start(t, locker, pidfile)
	require.Equal(t, 1, attacker.wait())
	require.Equal(t, 1, attacker.out.count("permission denied"), "%s", attacker.out)
	requireStarts(t, pidfile, "mode=0600")
}

// A lock that its taker has left to another is not blamed on him.
// Row L4.
func TestWhoHasLeftTheLockIsNotNamed(t *testing.T) {
	t.Parallel()
	path := pidFileWith(t, "12345\n")
	f := held(t, path)
	cmd := command(idle)
	cmd.ExtraFiles = []*os.File{f}
	launch(t, cmd)
	require.NoError(t, f.Close())
	require.EqualError(t, mustLook(t, path).Unidentified(path), "locked by another program")
}

// logPlaces are directories as root may find them, below one that is root's. Root refuses some.
var logPlaces = map[string]struct {
	make func(t *testing.T, dir string) // the path of the log is daemon.log in it
	why  string                         // "" if root takes it; %s is the directory
}{
	"of root":                  {func(t *testing.T, dir string) {}, ""},
	"of a user":                {func(t *testing.T, dir string) { require.NoError(t, os.Chown(dir, service, service)) }, "the directory %s on the way belongs to user 12345"},
	"that everybody can write": {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o777)) }, "others can write the directory %s on the way (mode 0777)"},
	"that a group can write": {func(t *testing.T, dir string) {
		require.NoError(t, errors.Join(os.Chown(dir, 0, service), os.Chmod(dir, 0o775)))
	}, "others can write the directory %s on the way (mode 0775)"},
	"like /tmp":                  {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky)) }, ""},
	"through a link of root's":   {func(t *testing.T, dir string) { link(t, dir, 0) }, ""},
	"through a link of a user's": {func(t *testing.T, dir string) { link(t, dir, service) }, "the symbolic link %s on the way belongs to user 12345"},
	"with a log of the user's": {func(t *testing.T, dir string) {
		log := filepath.Join(dir, "daemon.log")
		require.NoError(t, errors.Join(os.WriteFile(log, nil, 0o640), os.Chown(log, service, service)))
	}, ""},
	"like /tmp, with a log that somebody has put there": {func(t *testing.T, dir string) {
		log := filepath.Join(dir, "daemon.log")
		require.NoError(t, errors.Join(os.Chmod(dir, 0o777|fs.ModeSticky), os.WriteFile(log, nil, 0o666), os.Chmod(log, 0o666), os.Chown(log, service, service)))
	}, "it belongs to user 12345, in a directory that others can write"},
}

// link puts a symbolic link of that user's, to a directory of root's, in the place of the directory.
func link(t *testing.T, dir string, owner int) {
	t.Helper()
	require.NoError(t, errors.Join(os.Rename(dir, dir+".precious"), os.Symlink(dir+".precious", dir), os.Lchown(dir, owner, owner)))
}

// below is all that is in a directory, with mode, owner and content.
func below(t *testing.T, dir string) (all []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		text, _ := os.ReadFile(path)
		all = append(all, fmt.Sprintf("%s %v %d %q", path, info.Mode(), info.Sys().(*syscall.Stat_t).Uid, text))
		return nil
	}))
	return all
}

// Rows K14, L5.
func TestRootLogsOnlyWhereNobodyElseCanLeadIt(t *testing.T) {
	needs(t, "root")
	t.Parallel()
	for name, place := range logPlaces {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, option := range []string{"log=", "errorlog="} {
				pidfile, dir := verbPlace(t), filepath.Join(t.TempDir(), "logs")
				require.NoError(t, os.Mkdir(dir, 0o755))
				place.make(t, dir)
				log := filepath.Join(dir, "daemon.log")
				before := below(t, filepath.Dir(dir))
				got := callVerb(t, pidfile, option+log, "start")
				if place.why == "" {
					require.Equal(t, 0, got.code, got.stderr)
					awaitLog(t, log, map[string]string{"log=": "OnStart done", "errorlog=": "msg=ready"}[option])
					require.Equal(t, 0, callVerb(t, pidfile, "reopen").code)
					require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
					continue
				}
				require.Equal(t, 1, got.code)
				require.True(t, strings.HasPrefix(got.stderr, "daemon: start failed: log file "+log+": "), got.stderr)
				require.Contains(t, got.stderr, strings.ReplaceAll(place.why, "%s", dir))
				if strings.Contains(place.why, "on the way") {
					require.Contains(t, got.stderr, ": as root, log where only root can write the directories, into a file of the user's if need be, or start as the user\n")
				}
				require.Equal(t, before, below(t, filepath.Dir(dir)))
				requireVerbLeftNothing(t, pidfile)
			}
		})
	}
}

// At a reopen it is the same, however the directory was at the start.
// Rows K14, L5.
func TestRootReopensNoLogWhereSomebodyElseHasCome(t *testing.T) {
	needs(t, "root")
	t.Parallel()
	for name, place := range logPlaces {
		if place.why == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "logs")
			require.NoError(t, os.Mkdir(dir, 0o755))
			log := filepath.Join(dir, "daemon.log")
			pid, pidfile := verbStart(t, "log="+log)
			old := openForReading(t, log)
			require.NoError(t, os.Rename(log, log+".1"))
			place.make(t, dir)
			inIt := folder(t, dir)
			got := callVerb(t, pidfile, "reopen")
			require.Equal(t, 1, got.code)
			require.Contains(t, got.stderr, "daemon: reopen: log file "+log+": ")
			require.Contains(t, got.stderr, strings.ReplaceAll(place.why, "%s", dir))
			require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
			eventually(t, func() bool { return strings.Contains(logRead(t, old), "OnSignal done") }, "a word in the old log")
			require.Contains(t, logRead(t, old), "cannot reopen the log, the old one stays")
			require.Equal(t, inIt, folder(t, dir), "nothing was made")
			require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
		})
	}
}

// On Ubuntu /var/log is root's and the group syslog can write it.
// Row K14.
func TestTheGroupThatRootLetsWriteVarLogIsTrusted(t *testing.T) {
	needsMount(t)
	t.Parallel()
	for options, trusted := range map[string]bool{"mode=0775,gid=12345": true, "mode=0777,gid=12345": false, "mode=0775,uid=12345": false} {
		pidfile := verbPlace(t)
		unshare := []string{"unshare", "--mount", "sh", "-c", "mount -t tmpfs -o " + options + ` tmpfs /var/log && exec "$0" "$@"`}
		got := runCommand(t, wrapped(unshare, daemon, "pidfile="+pidfile, "log=/var/log/daemon.log", "start"))
		if !trusted {
			require.Equal(t, 1, got.code)
			require.Contains(t, got.stderr, "/var/log on the way")
			continue
		}
		require.Equal(t, 0, got.code, got.stderr)
		require.Equal(t, 0, callVerb(t, pidfile, "reopen").code)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	}
}

// Row K14.
func TestAUserLogsWhereHeLikes(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	dir := nobodys(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "shared"), 0o777))
	require.NoError(t, os.Chmod(filepath.Join(dir, "shared"), 0o777))
	require.NoError(t, os.Chown(filepath.Join(dir, "shared"), service, service))
	pidfile, log := filepath.Join(dir, "daemon.pid"), filepath.Join(dir, "shared", "daemon.log")
	binary := filepath.Join(dir, "program")
	require.NoError(t, os.Rename(copyOfTestBinary(t), binary))
	call := func(verb string) result {
		cmd := command(daemon, "pidfile="+pidfile, "log="+log, verb)
		cmd.Path = binary
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return runCommand(t, cmd)
	}
	got := call("start")
	require.Equal(t, 0, got.code, got.stderr)
	require.Equal(t, 0, call("reopen").code)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").code, "sudo prog stop")
}

// forger is a user without rights who calls a setuid program as its launcher would.
//
//	forger STAGE PROGRAM JAIL PIDFILE args…
var forger = registerProgram("forger", func(args []string) int {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(service), syscall.Setuid(service)); err != nil {
		fmt.Println(err)
		return 99
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fmt.Println(err)
		return 99
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	stage, path, jail, pidfile := args[0], args[1], args[2], args[3]
	cmd := command(daemon, args[4:]...)
	cmd.Path, cmd.Dir = path, "/"
	cmd.Stdout, cmd.Stderr = theirs, theirs
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"Chroot":%q}`, jail))
	var st unix.Stat_t
	_ = unix.Fstat(fds[1], &st)
	cmd.Env = append(cmd.Env, fmt.Sprintf("_LIFECYCLE_STAGE=%s:%d:%d", stage, st.Dev, st.Ino), "_GO_DAEMON=1")
	if stage == "2" {
		file, err := os.Open(pidfile)
		if err != nil {
			fmt.Println(err)
			return 99
		}
		note := fmt.Sprintf("\n\x00{\"Note\":{\"pid_file\":%q}}\n", pidfile)
		_ = unix.Sendmsg(fds[0], []byte(note), unix.UnixRights(int(file.Fd())), nil, 0)
	}
	_ = unix.Shutdown(fds[0], unix.SHUT_WR) // who waits for more is not kept waiting
	err = cmd.Run()
	theirs.Close()
	said, _ := io.ReadAll(ours)
	fmt.Printf("%s", said)
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		return exited.ExitCode()
	}
	return ExitCode(err)
})

// privilegedCopy is a copy of the test binary that everybody can execute, with more rights than he has.
func privilegedCopy(t *testing.T, give func(path string) error) (path string) {
	t.Helper()
	dir := nobodys(t)
	require.NoError(t, os.Chown(dir, 0, 0))
	path = filepath.Join(dir, "program")
	var info unix.Statfs_t
	require.NoError(t, unix.Statfs(filepath.Dir(path), &info))
	if info.Flags&unix.ST_NOSUID != 0 {
		t.Skip("the temporary directory is mounted nosuid")
	}
	require.NoError(t, exec.Command("cp", testBinary(), path).Run())
	require.NoError(t, os.Chmod(path, 0o755))
	if err := give(path); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("the file system knows no capabilities")
	} else {
		require.NoError(t, err)
	}
	return path
}

func setuidRoot(path string) error { return os.Chmod(path, 0o755|fs.ModeSetuid) }

// mayChroot gives the file a capability, as setcap(8) does: struct vfs_cap_data of linux/capability.h.
func mayChroot(path string) error {
	data := binary.LittleEndian.AppendUint32(nil, 0x02000001) // revision 2, effective
	for _, word := range []uint32{1 << unix.CAP_SYS_CHROOT, 0, 0, 0} {
		data = binary.LittleEndian.AppendUint32(data, word)
	}
	return unix.Setxattr(path, "security.capability", data, 0)
}

// A user can forge mark and socket for a setuid program, but not that root has made the socket. Taken for stage 1, the program would go where
// he says before it executes itself; for stage 2, it would believe that it holds a lock which it does not.
// Rows L9, L10.
func TestASetuidProgramTakesNobodyElseForItsLauncher(t *testing.T) {
	programsUsed.Store(forger, true)
	needs(t, "root")
	t.Parallel()
	program, jail := privilegedCopy(t, setuidRoot), t.TempDir()
	for _, stage := range []string{"1", "2"} {
		pidfile := filepath.Join(filepath.Dir(program), "daemon.pid")
		require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o644))
		requireUntouched := untouched(t, pidfile)
		got := callProgram(t, forger, stage, program, jail, pidfile, "pidfile="+pidfile, "status")
		require.Equal(t, result{fmt.Sprintf("daemon: dead: pid 12345 left %s\n", pidfile), "", 1}, got)
		requireUntouched()
	}
}

// A program with capabilities is of the same user, so he can be its launcher. That gives him no use of them.
// Row L9.
func TestAProgramWithCapabilitiesDoesNotObeyItsStdin(t *testing.T) {
	programsUsed.Store(forger, true)
	needs(t, "root")
	t.Parallel()
	program, jail := privilegedCopy(t, mayChroot), t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(jail), 0o755))
	pidfile := filepath.Join(filepath.Dir(program), "daemon.pid")
	got := callProgram(t, forger, "1", program, jail, pidfile, "pidfile="+pidfile, "status")
	require.Regexp(t, `^\n\x00\{"pid":\d+\}\n\n\x00\{"error":"the launcher is gone"\}\n$`, got.stdout, "it found itself where it is")
	require.NoFileExists(t, pidfile)
}

// Row L9.
func TestASetuidProgramDetachesAllTheSame(t *testing.T) {
	needs(t, "root")
	t.Parallel()
	program, b := privilegedCopy(t, setuidRoot), inBackground(t)
	cmd := command(daemon, b.args("start")...)
	cmd.Path, cmd.Dir = program, "/"
	cmd.Env = append(cmd.Env, "_LIFECYCLE_STAGE=1:1:1", "_GO_DAEMON=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
	pid := b.readied(runCommand(t, cmd))
	require.Equal(t, "12345\t0\t0\t0", statusField(t, pid, "Uid"))
	require.EqualValues(t, 0, ownerOf(t, b.log))
	b.stop()
}

func ownerOf(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Uid
}

// Row L14.
func TestNothingThatALifeMakesCanBeWrittenByOthersWhateverTheUmask(t *testing.T) {
	t.Parallel()
	for _, umask := range []string{"0", "0777"} {
		t.Run(umask, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(root, "d"), 0o755))
			pidfile, log, errs := filepath.Join(root, "d", "daemon.pid"), filepath.Join(root, "d", "daemon.log"), filepath.Join(root, "d", "daemon.err")
			seen := map[string]fs.FileMode{}
			look := func() {
				t.Helper()
				require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
					info, statErr := os.Lstat(path)
					if err = errors.Join(err, statErr); err == nil {
						seen[filepath.Base(path)] = info.Mode()
						require.Zero(t, info.Mode()&0o022, "%s %v", path, info.Mode())
					}
					return err
				}))
			}
			call := func(args ...string) result {
				sh := []string{"sh", "-c", "umask " + umask + `; exec "$0" "$@"`}
				return runCommand(t, wrapped(sh, daemon, append([]string{"pidfile=" + pidfile, "log=" + log, "errorlog=" + errs}, args...)...))
			}
			require.Equal(t, 0, call("umask="+umask, "start").code)
			t.Cleanup(func() { call("stop") })
			look()
			require.Equal(t, 0, call("reload").code)
			look()
			require.NoError(t, os.Rename(log, log+".1"))
			require.NoError(t, os.Rename(errs, errs+".1"))
			require.Equal(t, 0, call("reopen").code)
			look()
			p := mustFind(t, pidfile)
			require.NoError(t, p.Kill(t.Context()))
			look()
			require.Equal(t, 0, call("umask="+umask, "restart").code)
			look()
			require.Equal(t, 0, call("stop").code)
			look()
			delete(seen, filepath.Base(root))
			require.Equal(t, map[string]fs.FileMode{
				"d": fs.ModeDir | 0o755, "daemon.pid": 0o644, "daemon.state": 0o644,
				"daemon.log": 0o640, "daemon.err": 0o640, "daemon.log.1": 0o640, "daemon.err.1": 0o640,
			}, seen)
		})
	}
}

// Row L14.
func TestTheDefaultDirectoryIsItsUsersAloneWhateverTheUmask(t *testing.T) {
	needs(t, "root")
	t.Parallel()
	binary := filepath.Join(nobodys(t), "program")
	require.NoError(t, os.Rename(copyOfTestBinary(t), binary))
	for _, umask := range []string{"0", "0777"} {
		name := ownName("umask" + umask)
		dir := fmt.Sprintf("/tmp/%s-%d", name, service) // for who is in no database
		t.Cleanup(func() { os.RemoveAll(dir) })
		call := func(verb string) result {
			cmd := wrapped([]string{"sh", "-c", "umask " + umask + `; exec "$@"`, "sh"}, defaulted, name, verb)
			cmd.Args[len(cmd.Args)-3] = binary
			programsUsed.Store(defaulted, true)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
			cmd.Dir = "/"
			return runCommand(t, cmd)
		}
		got := call("start")
		require.Equal(t, 0, got.code, "umask %s: %s", umask, got.stderr)
		t.Cleanup(func() { call("stop") })
		require.Equal(t, fs.ModeDir|0o700, logPerm(t, dir))
		for file, mode := range map[string]fs.FileMode{".pid": 0o644, ".state": 0o644, ".log": 0o640} {
			require.Equal(t, mode, logPerm(t, filepath.Join(dir, name+file)))
		}
		require.Equal(t, 0, call("stop").code)
	}
}

// What is opened follows no link at the end of its path and waits for nobody, and nothing is done by path to a file that is open.
// Row L5.
func TestNoFileIsOpenedThroughALinkOrChangedByItsPath(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	dir, traces := t.TempDir(), t.TempDir()
	pidfile, log := filepath.Join(dir, "daemon.pid"), filepath.Join(dir, "daemon.log")
	said, err := os.Create(filepath.Join(traces, "said")) // not a pipe, which the tracer of a daemon would hold
	require.NoError(t, err)
	defer said.Close()
	traced := func(verb string) {
		t.Helper()
		strace := []string{"strace", "-D", "-ff", "-I1", "-o", filepath.Join(traces, verb), "-e", "trace=%file,fchmod,fchown"}
		cmd := wrapped(strace, daemon, "pidfile="+pidfile, "log="+log, verb)
		cmd.Stdout, cmd.Stderr = said, said
		require.Equal(t, 0, launch(t, cmd).wait(), verb)
	}
	traced("start")
	t.Cleanup(func() { callVerb(t, pidfile, "stop") })
	for _, verb := range []string{"status", "reload", "reopen", "restart", "stop"} {
		traced(verb)
	}
	var calls []string
	removed := `unlinkat(AT_FDCWD, "` + pidfile + `", 0)`
	eventually(t, func() bool {
		files, err := filepath.Glob(filepath.Join(traces, "*.*"))
		require.NoError(t, err)
		calls = nil
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			calls = append(calls, strings.Split(string(text), "\n")...)
		}
		return strings.Count(strings.Join(calls, "\n"), removed) == 2
	}, "the end of the traces")
	harmless := regexp.MustCompile(`^openat\(AT_FDCWD, "[^"]*", \S*O_NONBLOCK\|O_NOFOLLOW\S*|^newfstatat\(AT_FDCWD, .*, AT_SYMLINK_NOFOLLOW\)|^unlinkat\(AT_FDCWD, "[^"]*\.(pid|state)", 0\)|^readlinkat\(`)
	ours := 0
	for _, call := range calls {
		if strings.Contains(call, `"`+dir+"/") && !strings.HasPrefix(call, "execve(") {
			ours++
			require.Regexp(t, harmless, call)
		}
	}
	require.Greater(t, ours, 50)
}
