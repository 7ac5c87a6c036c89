package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/pidfile"
)

const (
	service  = 12345 // a user who is in no database
	stranger = 54321 // another
)

// faulty is the program daemon with a fault in the system calls that touch its PID file, as -e inject of strace(1) wants it. The
// tracer is a grandchild (-D), so the process is the daemon's own. requireFault requires that the fault has happened.
func faulty(t *testing.T, fault, pidfile string, args ...string) (cmd *exec.Cmd, requireFault func()) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	call, _, _ := strings.Cut(fault, ":")
	cmd = wrapped([]string{"strace", "-D", "-I1", "-f", "-o", trace, "-P", pidfile, "-e", "trace=" + call, "-e", "inject=" + fault},
		daemon, append([]string{"pidfile=" + pidfile}, args...)...)
	return cmd, func() {
		t.Helper()
		eventually(t, func() bool {
			text, err := os.ReadFile(trace)
			return err == nil && (strings.Contains(string(text), "(INJECTED)") || strings.Contains(string(text), "stopped by SIGSTOP"))
		}, "the fault %s", fault)
	}
}

func needsStrace(t *testing.T) { t.Helper(); needsLeave(t, "strace", "-o", os.DevNull) }

// startPausing starts a daemon that stands still behind its first call of that system call on the PID file. awaitPause waits for
// that, resume lets it go on.
func startPausing(t *testing.T, call, pidfile string) (p *process, awaitPause, resume func()) {
	t.Helper()
	cmd, awaitPause := faulty(t, call+":signal=STOP:when=1", pidfile, "run")
	p = launch(t, cmd)
	return p, awaitPause, func() {
		t.Helper()
		tracer, err := strconv.Atoi(statusField(t, p.pid(), "TracerPid"))
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(tracer, syscall.SIGTERM)) // strace detaches
		eventually(t, func() bool { return statusField(t, p.pid(), "TracerPid") == "0" }, "the end of strace")
		p.signal(syscall.SIGCONT)
	}
}

func statusField(t *testing.T, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, value, _ := strings.Cut(string(text), "\n"+field+":")
	value, _, _ = strings.Cut(value, "\n")
	return strings.TrimSpace(value)
}

// Between open and lock everything can happen to the file.
// Row A8.
func TestAStartThatLocksAFileWhichIsGoneTriesAgain(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for what, meanwhile := range map[string]func(t *testing.T, pidfile string) (owner *process){
		"deleted": func(t *testing.T, pidfile string) *process {
			require.NoError(t, os.Remove(pidfile))
			return nil
		},
		"replaced": func(t *testing.T, pidfile string) *process {
			other := pidfile + ".other"
			require.NoError(t, os.WriteFile(other, []byte("12345\n"), 0o644))
			require.NoError(t, os.Rename(other, pidfile))
			return nil
		},
		"used and left": func(t *testing.T, pidfile string) *process {
			requireStarts(t, pidfile)
			return nil
		},
		"taken": func(t *testing.T, pidfile string) *process {
			p := start(t, daemon, "pidfile="+pidfile)
			p.await("msg=ready")
			return p
		},
		"used and left, and taken": func(t *testing.T, pidfile string) *process {
			requireStarts(t, pidfile)
			p := start(t, daemon, "pidfile="+pidfile)
			p.await("msg=ready")
			return p
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			pidfile := pidPath(t)
			p, awaitPause, resume := startPausing(t, "openat", pidfile)
			awaitPause()
			requireText(t, pidfile, "")
			owner := meanwhile(t, pidfile)
			resume()
			if owner != nil {
				require.Equal(t, 1, p.wait(), "%s", p.out)
				require.Equal(t, 1, p.out.count(fmt.Sprintf("already running (pid %d)", owner.pid())), "%s", p.out)
				requireRunning(t, pidfile, owner.pid())
				return
			}
			p.await("msg=ready")
			requireText(t, pidfile, fmt.Sprintln(p.pid()))
			requireRefused(t, 1, alreadyRunning(p.pid()), pidfile)
			p.signal(syscall.SIGTERM)
			require.Equal(t, 0, p.wait())
			requireNothingLeft(t, pidfile)
		})
	}
}

// Row A9.
func TestAStartBetweenUnlinkAndUnlockGetsAFileOfItsOwn(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	pidfile := pidPath(t)
	p, awaitPause, resume := startPausing(t, "unlinkat", pidfile)
	p.await("msg=ready")
	p.signal(syscall.SIGTERM)
	awaitPause()
	require.NoFileExists(t, pidfile)
	p.await("OnExit done") // all of it is over
	require.Equal(t, result{notRunning(pidfile), "", 3}, callVerb(t, pidfile, "status"))

	next := start(t, daemon, "pidfile="+pidfile)
	next.await("msg=ready")
	resume()
	require.Equal(t, 0, p.wait())
	requireRunning(t, pidfile, next.pid())
	requireRefused(t, 1, alreadyRunning(next.pid()), pidfile)
}

// Row A12.
func TestAnotherMountOfTheDirectoryIsTheSameFile(t *testing.T) {
	needsMount(t)
	t.Parallel()
	p, pidfile := startDaemon(t)
	view := t.TempDir()
	mount(t, filepath.Dir(pidfile), view, "", unix.MS_BIND, "")
	other := filepath.Join(view, filepath.Base(pidfile))
	requireRefused(t, 1, alreadyRunning(p.pid()), other)
	requireRunning(t, other, p.pid())
}

// Row A16.
func TestAnInterruptedSystemCallIsMadeAgain(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for _, call := range []string{"flock", "fcntl", "pwrite64", "ftruncate", "openat"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			pidfile := pidPath(t)
			cmd, requireFault := faulty(t, call+":error=EINTR:when=1..3", pidfile)
			p := launch(t, cmd)
			p.await("msg=ready")
			requireFault()
			requireText(t, pidfile, fmt.Sprintln(p.pid()))
			requireRunning(t, pidfile, p.pid())
			p.signal(syscall.SIGTERM)
			require.Equal(t, 0, p.wait())
			requireNothingLeft(t, pidfile)
		})
	}
}

// Rows A16, B19.
func TestAFileSystemThatCannotLockIsRefused(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for errno, text := range map[string]string{
		"ENOLCK":     "no locks available",
		"EOPNOTSUPP": "operation not supported",
		"ENOSYS":     "function not implemented",
	} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			want := ": " + text + ": the file system must know flock(2), use a local one such as /run\n"
			for _, left := range []string{"nothing", "a stale file"} {
				pidfile := pidPath(t)
				if left != "nothing" {
					require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o644))
				}
				requireUntouched := untouched(t, pidfile)
				cmd, requireFault := faulty(t, "flock:error="+errno, pidfile, "run")
				got := runCommand(t, cmd)
				requireFault()
				require.Equal(t, 1, got.code)
				require.Empty(t, got.stdout)
				require.Contains(t, got.stderr, "daemon: start failed: PID file "+pidfile+": ")
				require.Contains(t, got.stderr, want)
				requireUntouched()
			}
		})
	}
}

// The mark and the name are advice: without them a daemon is kept apart all the same, and nothing false is said of it.
func TestWithoutRecordLocksTheFlockServesAlone(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	pidfile := pidPath(t)
	cmd, requireFault := faulty(t, "fcntl:error=ENOLCK", pidfile)
	p := launch(t, cmd)
	p.await("msg=ready")
	requireFault()
	requireText(t, pidfile, fmt.Sprintln(p.pid()))
	requireRefused(t, 1, "locked by another program", pidfile)
	status := callVerb(t, pidfile, "status")
	require.Equal(t, 4, status.code)
	// Who cannot see marks himself takes the number.
	cmd, _ = faulty(t, "fcntl:error=ENOLCK", pidfile, "status")
	requireReady(t, p.pid(), runCommand(t, cmd))
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	requireNothingLeft(t, pidfile)
}

// Row B2.
func TestADirectoryThatMayNotBeWrittenIsAnError(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	dir := nobodys(t)
	require.NoError(t, os.Chown(dir, 0, 0))
	pidfile := filepath.Join(dir, "daemon.pid")
	want := fmt.Sprintf("daemon: start failed: PID file %s: open: permission denied (user %d must be able to write the directory %s)\n",
		pidfile, nobody, dir)
	require.Equal(t, result{"", want, 4}, callProgram(t, asNobody, "pidfile="+pidfile, "run"))
	requireNothingLeft(t, pidfile)

	require.NoError(t, os.Chmod(dir, 0o700)) // not even to be looked into
	got := callProgram(t, asNobody, "pidfile="+pidfile, "run")
	require.Equal(t, 4, got.code)
	require.Contains(t, got.stderr, "permission denied")
	require.Equal(t, 4, callProgram(t, asNobody, "pidfile="+pidfile, "status").code)
}

// Row B8.
func TestRootFollowsNoLinkAndNoDirectoryOfAnotherUser(t *testing.T) {
	needs(t, "root")
	t.Parallel()
	dir, root := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(root, filepath.Join(dir, "link of root")))
	require.NoError(t, os.Symlink(root, filepath.Join(dir, "link of service")))
	require.NoError(t, os.Lchown(filepath.Join(dir, "link of service"), service, service))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "service"), 0o755))
	require.NoError(t, os.Chown(filepath.Join(dir, "service"), service, service))

	for name, why := range map[string]string{
		"link of service": fmt.Sprintf("the symbolic link %s on the way belongs to user %d", filepath.Join(dir, "link of service"), service),
		"service":         fmt.Sprintf("the directory %s on the way belongs to user %d", filepath.Join(dir, "service"), service),
	} {
		pidfile := filepath.Join(dir, name, "daemon.pid")
		requireRefused(t, 1, fmt.Sprintf("start failed: unsafe PID file %s: %s\n", pidfile, why), pidfile)
		requireNothingLeft(t, filepath.Join(root, "daemon.pid"))
		require.NoFileExists(t, pidfile)
	}
	requireStarts(t, filepath.Join(dir, "link of root", "daemon.pid"))

	// Nor does it look: a file of root's, on a way of another's, could be any file of root's.
	p := start(t, daemon, "pidfile="+filepath.Join(root, "daemon.pid"))
	p.await("msg=ready")
	_, err := Find(filepath.Join(dir, "link of service", "daemon.pid"))
	require.ErrorIs(t, err, ErrUnsafePIDFile)
}

func needsMount(t *testing.T) {
	t.Helper()
	needs(t, "root")
	needsLeave(t, "unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt")
}

func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	require.NoError(t, unix.Mount(source, target, kind, flags, data))
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
}

// readOnly makes the directory read-only; what is open stays open.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	mount(t, dir, dir, "", unix.MS_BIND, "")
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
}

// Row B9.
func TestAReadOnlyFileSystemIsAnError(t *testing.T) {
	needsMount(t)
	t.Parallel()
	missing, stale := pidPath(t), pidFileWith(t, "12345\n")
	for _, pidfile := range []string{missing, stale} {
		requireUntouched := untouched(t, pidfile)
		readOnly(t, filepath.Dir(pidfile))
		requireRefused(t, 1, "daemon: start failed: PID file "+pidfile+": open: read-only file system\n", pidfile)
		requireUntouched()
	}
	require.Equal(t, 1, callVerb(t, stale, "status").code, "but it can be looked at")
}

// Row B10.
func TestADaemonSurvivesThatItsFileSystemBecomesReadOnly(t *testing.T) {
	needsMount(t)
	t.Parallel()
	p, pidfile := startDaemon(t)
	readOnly(t, filepath.Dir(pidfile))
	p.signal(syscall.SIGHUP)
	p.await("msg=reloaded")
	require.Zero(t, p.out.count(lostWarning))
	requireRunning(t, pidfile, p.pid())
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	require.Equal(t, 1, p.out.count("cannot remove the PID file"))
	require.Equal(t, 1, p.out.count("cannot remove the state file"))
	requireText(t, pidfile, "")
	requireText(t, statePath(pidfile), "")
	require.Equal(t, result{notRunning(pidfile), "", 3}, callVerb(t, pidfile, "status"))

	require.NoError(t, unix.Unmount(filepath.Dir(pidfile), unix.MNT_DETACH))
	requireStarts(t, pidfile)
}

// fillUp writes until the file system has no room left. free makes room again.
func fillUp(t *testing.T, dir string, write func(name string) error) (free func()) {
	t.Helper()
	var err error
	var names []string
	for err == nil {
		names = append(names, filepath.Join(dir, "filler"+strconv.Itoa(len(names))))
		err = write(names[len(names)-1])
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	return func() {
		for _, name := range names {
			os.Remove(name)
		}
	}
}

// Rows B11, B14.
func TestAFullFileSystemIsAnErrorAndNothingIsLeft(t *testing.T) {
	needsMount(t)
	t.Parallel()
	for what, c := range map[string]struct {
		options, op string
		fill        func(name string) error
	}{
		"no block": {"size=64k", "write", func(name string) error { return os.WriteFile(name, make([]byte, os.Getpagesize()), 0o600) }},
		"no inode": {"nr_inodes=8", "open", func(name string) error { return os.WriteFile(name, nil, 0o600) }},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mount(t, "tmpfs", dir, "tmpfs", 0, "mode=0755,"+c.options)
			pidfile := filepath.Join(dir, "daemon.pid")
			free := fillUp(t, dir, c.fill)
			requireUntouched := untouched(t, pidfile)
			requireRefused(t, 1, "daemon: start failed: PID file "+pidfile+": "+c.op+": no space left on device\n", pidfile)
			requireUntouched()
			free()
			requireStarts(t, pidfile)
		})
	}
}

// Row B12.
func TestAWriteThatFailsFailsTheStart(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for fault, text := range map[string]string{
		"pwrite64:retval=2":     "write: short write",
		"pwrite64:retval=0":     "write: short write",
		"pwrite64:error=EIO":    "write: input/output error",
		"pwrite64:error=ENOSPC": "write: no space left on device",
		"pwrite64:error=EDQUOT": "write: disk quota exceeded",
		"ftruncate:error=EIO":   "truncate: input/output error",
		"fchmod:error=EPERM":    "chmod: operation not permitted",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			code := 1
			if strings.Contains(fault, "EPERM") {
				code = 4
			}
			for _, before := range []string{"nothing", "a stale file"} {
				pidfile := pidPath(t)
				if before != "nothing" {
					require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o600))
				} else if strings.HasPrefix(fault, "fchmod") {
					continue // a new file has its mode
				}
				cmd, requireFault := faulty(t, fault, pidfile, "run")
				got := runCommand(t, cmd)
				requireFault()
				require.Equal(t, code, got.code)
				require.Empty(t, got.stdout)
				require.Contains(t, got.stderr, "daemon: start failed: PID file "+pidfile+": "+text)
				requireNothingLeft(t, pidfile)
				requireStarts(t, pidfile)
			}
		})
	}
}

// Row B13.
func TestAPIDFileThatCannotBeRemovedIsEmptied(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for errno, c := range map[string]struct {
		text, run string
		code      int
	}{
		"EBUSY": {"device or resource busy", "wait", 0},
		"EROFS": {"read-only file system", "wait", 0},
		"EPERM": {"operation not permitted", "error", 1},
	} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			pidfile := pidPath(t)
			cmd, requireFault := faulty(t, "unlinkat:error="+errno, pidfile, "run="+c.run)
			p := launch(t, cmd)
			p.await("fn")
			if c.run == "wait" {
				p.await("msg=ready")
				p.signal(syscall.SIGTERM)
			}
			require.Equal(t, c.code, p.wait(), "as if nothing had been\n%s", p.out)
			requireFault()
			require.Equal(t, 1, p.out.count("cannot remove the PID file, emptied it"), "%s", p.out)
			require.Equal(t, 1, p.out.count(c.text))
			requireText(t, pidfile, "")
			require.Equal(t, result{notRunning(pidfile), "", 3}, callVerb(t, pidfile, "status"))
			requireStarts(t, pidfile)
		})
	}
}

// Row B15.
func TestADirectoryThatEverybodyCanWriteIsRefusedToRoot(t *testing.T) {
	needs(t, "root")
	t.Parallel()
	pidfile := pidPath(t)
	dir := filepath.Dir(pidfile)
	require.NoError(t, os.Chmod(dir, 0o777))
	requireRefused(t, 1, fmt.Sprintf("start failed: unsafe PID file %s: others can write the directory %s on the way (mode 0777)\n", pidfile, dir), pidfile)
	requireNothingLeft(t, pidfile)
	require.NoError(t, os.Chmod(dir, 0o775))
	requireStarts(t, pidfile) // the group is root's
	require.NoError(t, os.Chown(dir, 0, service))
	requireRefused(t, 1, "others can write the directory "+dir+" on the way (mode 0775)\n", pidfile)
	require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	requireStarts(t, pidfile) // as in /tmp
}

// Row B16.
func TestAFileOfAnotherUserInAStickyDirectoryIsRefused(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	dir := nobodys(t)
	require.NoError(t, os.Chown(dir, 0, 0))
	require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	pidfile := filepath.Join(dir, "daemon.pid")
	require.NoError(t, os.WriteFile(pidfile, []byte("1\n"), 0o600))
	require.NoError(t, os.Chown(pidfile, service, service))
	requireUntouched := untouched(t, pidfile)
	requireRefused(t, 1, fmt.Sprintf("it belongs to user %d, not to user 0\n", service), pidfile)
	requireUntouched()

	require.NoError(t, os.Chmod(pidfile, 0o644))
	require.Equal(t, 4, callProgram(t, asNobody, "pidfile="+pidfile, "run").code, "who cannot even write it")
	require.NoError(t, os.Chmod(pidfile, 0o666))
	for _, program := range []string{daemon, asNobody} {
		got := callProgram(t, program, "pidfile="+pidfile, "run")
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stderr, "unsafe PID file "+pidfile)
		require.Contains(t, got.stderr, "everybody can write it (mode 0666)\n")
	}
	require.NoError(t, os.Remove(pidfile))
	p := start(t, asNobody, "pidfile="+pidfile)
	p.await("msg=ready")
	requireRefused(t, 1, fmt.Sprintf("it belongs to user %d, not to user 0\n", nobody), pidfile) // in use or not
	requireRunning(t, pidfile, p.pid())
}

// settler is a daemon of a user who is in no database, with the default PID file. Its argument is its name.
var settler = registerProgram("settler", func(args []string) int {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(service), syscall.Setuid(service)); err != nil {
		fmt.Println(err)
		return 99
	}
	fmt.Println("default:", DefaultPIDFile(args[0]))
	err := Run(nil, Name(args[0]))
	fmt.Println("Run returned:", err)
	return ExitCode(err)
})

// Row B16.
func TestTheDefaultDirectoryIsMadeForItsUserAndTakenFromNoOther(t *testing.T) {
	programsUsed.Store(settler, true)
	needs(t, "root")
	t.Parallel()
	name := ownName("settler")
	dir := fmt.Sprintf("/tmp/%s-%d", name, service)
	pidfile := filepath.Join(dir, name+".pid")
	t.Cleanup(func() { os.RemoveAll(dir) })

	p := start(t, settler, name)
	p.await("ready pid=")
	require.Equal(t, 1, p.out.count("default: "+pidfile))
	info, err := os.Lstat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o700, info.Mode())
	require.EqualValues(t, service, info.Sys().(*syscall.Stat_t).Uid)
	requireText(t, pidfile, fmt.Sprintln(p.pid()))
	require.Contains(t, callProgram(t, settler, name).stdout, fmt.Sprintf("already running (pid %d)", p.pid()))
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	requireNothingLeft(t, pidfile)

	want := fmt.Sprintf("%s is not a directory of user %d\n", dir, service)
	require.NoError(t, os.Chown(dir, stranger, stranger))
	require.NoError(t, os.Chmod(dir, 0o777))
	require.Contains(t, callProgram(t, settler, name).stdout, want)
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Symlink("/tmp", dir))
	require.NoError(t, os.Lchown(dir, service, service))
	require.Contains(t, callProgram(t, settler, name).stdout, want)
}

func TestPIDFileOfADaemonOfAnotherUser(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	pidfile := filepath.Join(nobodys(t), "daemon.pid")
	p := start(t, asNobody, "pidfile="+pidfile)
	p.await("msg=ready")
	requireRunning(t, pidfile, p.pid())
	requireRefused(t, 1, fmt.Sprintf("the directory %s on the way belongs to user %d\n", filepath.Dir(pidfile), nobody), pidfile)
	second := callProgram(t, asNobody, "pidfile="+pidfile, "run")
	require.Equal(t, result{"", alreadyRunning(p.pid()), 1}, second)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	require.Equal(t, 0, p.wait())
	requireNothingLeft(t, pidfile)
}

// In a user namespace, root and its directories are of nobody who is known there.
func TestPIDFileInAUserNamespace(t *testing.T) {
	needs(t, "root")
	needsLeave(t, "unshare", "--user")
	t.Parallel()
	pidfile := filepath.Join(nobodys(t), "daemon.pid")
	binary := filepath.Join(nobodys(t), "program")
	require.NoError(t, os.Rename(copyOfTestBinary(t), binary))
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}}
	inside := func(args ...string) *exec.Cmd {
		cmd := command(daemon, append([]string{"pidfile=" + pidfile}, args...)...)
		cmd.Path = binary
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
			Credential: &syscall.Credential{NoSetGroups: true},
		}
		return cmd
	}
	p := launch(t, inside())
	p.await("msg=ready")
	requireRunning(t, pidfile, p.pid())
	require.Equal(t, result{"", alreadyRunning(p.pid()), 1}, runCommand(t, inside("run")))
	require.Equal(t, 0, runCommand(t, inside("status")).code)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	require.Equal(t, 0, p.wait())
}

var ownPIDs = []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}

func TestHolderOutsideOfThePIDNamespaceIsSeenButHasNoPIDThere(t *testing.T) {
	needs(t, "root")
	needsLeave(t, ownPIDs...)
	t.Parallel()
	p, pidfile := startDaemon(t)
	inside := func(verb string) result { return runCommand(t, wrapped(ownPIDs, daemon, "pidfile="+pidfile, verb)) }
	require.Equal(t, result{"daemon: running (in another PID namespace)\n", "", 0}, inside("status"))
	require.Equal(t, result{"", "daemon: already running (pid not known here)\n", 1}, inside("run"))
	require.Equal(t, result{"", "daemon: stop: PID file " + pidfile + ": held by a daemon in another PID namespace\n", 1}, inside("stop"))
	requireRunning(t, pidfile, p.pid())
}

func TestHolderInAPIDNamespaceIsKnownByItsOuterPID(t *testing.T) {
	needs(t, "root")
	needsLeave(t, ownPIDs...)
	t.Parallel()
	pidfile := pidPath(t)
	unshare := launch(t, wrapped(ownPIDs, daemon, "pidfile="+pidfile))
	unshare.await("msg=ready")
	requireText(t, pidfile, "1\n")
	found, err := Find(pidfile)
	require.NoError(t, err)
	defer found.Close()
	require.Equal(t, strconv.Itoa(unshare.pid()), statusField(t, found.PID, "PPid"))
	require.Regexp(t, `^\d+(\t\d+)*\t1$`, statusField(t, found.PID, "NSpid"))
	requireRunning(t, pidfile, found.PID)
	requireRefused(t, 1, alreadyRunning(found.PID), pidfile)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	require.Equal(t, 0, unshare.wait(), "%s", unshare.out)
	requireNothingLeft(t, pidfile)
}

func TestTheNumberOfADaemonInAnotherPIDNamespaceIsNobodysHere(t *testing.T) {
	needs(t, "root")
	needsLeave(t, ownPIDs...)
	t.Parallel()
	pidfile := pidPath(t)
	unshare := launch(t, wrapped(ownPIDs, daemon, "pidfile="+pidfile, "usr2=cat:"+pidfile))
	unshare.await("msg=ready")
	found, err := Find(pidfile)
	require.NoError(t, err)
	defer found.Close()
	require.NoError(t, found.Signal(syscall.SIGUSR2)) // it reads its own file, and so loses its name
	unshare.await("OnSignal done")

	_, err = Find(pidfile)
	require.ErrorContains(t, err, "held by a daemon in another PID namespace", "and not process 1 of this namespace")
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), ErrNotRunning)
	require.Equal(t, result{"daemon: running (in another PID namespace)\n", "", 0}, callVerb(t, pidfile, "status"))
	require.Equal(t, 1, callVerb(t, pidfile, "stop").code)
}

func TestHolderIsKnownOnOverlayfs(t *testing.T) {
	needsMount(t)
	t.Parallel()
	below, above, merged := t.TempDir(), t.TempDir(), t.TempDir()
	mount(t, "tmpfs", below, "tmpfs", 0, "mode=0755")
	mount(t, "tmpfs", above, "tmpfs", 0, "mode=0755")
	upper, work := filepath.Join(above, "upper"), filepath.Join(above, "work")
	require.NoError(t, os.Mkdir(upper, 0o755))
	require.NoError(t, os.Mkdir(work, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(below, "stale.pid"), []byte("12345\n"), 0o644))
	mount(t, "overlay", merged, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", below, upper, work))

	for _, name := range []string{"new.pid", "stale.pid"} { // the stale one is of the image
		pidfile := filepath.Join(merged, name)
		p := start(t, daemon, "pidfile="+pidfile)
		p.await("msg=ready")
		requireRunning(t, pidfile, p.pid())
		requireRefused(t, 1, alreadyRunning(p.pid()), pidfile)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
		require.Equal(t, 0, p.wait())
		require.Zero(t, p.out.count("level=WARN"), "%s", p.out)
		requireStarts(t, pidfile)
	}
	requireText(t, filepath.Join(below, "stale.pid"), "12345\n")
}

func TestHolderIsKnownWithoutProc(t *testing.T) {
	needs(t, "root")
	needsLeave(t, "unshare", "--mount", "sh", "-c", "umount -l /proc")
	t.Parallel()
	withoutProc := []string{"unshare", "--mount", "sh", "-c", `umount -l /proc && exec "$0" "$@"`}
	pidfile := pidPath(t)
	p := launch(t, wrapped(withoutProc, daemon, "pidfile="+pidfile))
	p.await("msg=ready")
	requireRunning(t, pidfile, p.pid())
	for verb, want := range map[string]string{"status": fmt.Sprintf("ready (pid %d) for ", p.pid()), "run": alreadyRunning(p.pid())} {
		got := runCommand(t, wrapped(withoutProc, daemon, "pidfile="+pidfile, verb))
		require.Contains(t, got.stdout+got.stderr, want)
	}
	stopped := runCommand(t, wrapped(withoutProc, daemon, "pidfile="+pidfile, "stop"))
	require.Equal(t, 0, stopped.code, stopped.stderr)
	require.Equal(t, 0, p.wait())
	requireNothingLeft(t, pidfile)
}

// squat sets read locks where mark and name go, as everybody can who can read the file.
func squat(t *testing.T, pidfile string) (reader *os.File) {
	t.Helper()
	reader = openForReading(t, pidfile)
	for _, at := range []int64{1 << 62, 1<<62 + 1} {
		lock := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}
		require.NoError(t, unix.FcntlFlock(reader.Fd(), unix.F_OFD_SETLK, &lock))
	}
	return reader
}

func TestAReaderWhoSquatsOnTheMarkFoolsNobody(t *testing.T) {
	t.Parallel()
	pidfile := pidFileWith(t, fmt.Sprintln(os.Getpid()))
	reader := squat(t, pidfile)
	require.Equal(t, 1, callVerb(t, pidfile, "status").code, "it is dead")

	p := start(t, daemon, "pidfile="+pidfile)
	p.await("msg=ready")
	requireRunning(t, pidfile, p.pid())
	requireRefused(t, 1, alreadyRunning(p.pid()), pidfile)
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 1 << 62, Len: 1}
	require.ErrorIs(t, unix.FcntlFlock(openForReading(t, pidfile).Fd(), unix.F_OFD_SETLK, &lock), unix.EAGAIN, "now it is too late for that")
	require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	require.Equal(t, 0, p.wait())
	requireNothingLeft(t, pidfile)
	require.NoError(t, reader.Close())
}

// refused tries to start again and again where it is refused, and says how many descriptors it has before and after that.
var refused = registerProgram("refused", func(args []string) int {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			fmt.Println(err)
		}
		return len(entries)
	}
	_, _ = pidfile.Acquire(args[0], 0o644) // whatever Go opens once
	before := descriptors()
	for n := range 1000 {
		path := args[n%len(args)]
		if _, err := pidfile.Acquire(path, 0o644); err == nil {
			fmt.Println("not refused:", path)
			return 1
		}
		_, _ = pidfile.Inspect(path)
	}
	fmt.Printf("%d descriptors more\n", descriptors()-before)
	return 0
})

func TestAThousandRefusedStartsLeaveNoDescriptor(t *testing.T) {
	t.Parallel()
	_, pidfile := startDaemon(t)
	dir := t.TempDir()
	writable, fifo := filepath.Join(dir, "writable.pid"), filepath.Join(dir, "fifo.pid")
	require.NoError(t, os.WriteFile(writable, nil, 0o600))
	require.NoError(t, os.Chmod(writable, 0o666))
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	got := callProgram(t, refused, pidfile, writable, fifo, dir, filepath.Join(dir, "missing", "daemon.pid"))
	require.Equal(t, result{"0 descriptors more\n", "", 0}, got)
}

// Row E1.
func TestWhatTheDaemonStartsHasNoDescriptorOfThePIDFile(t *testing.T) {
	t.Parallel()
	p, child, pidfile := startForker(t)
	openIn := func(pid int) (paths []string) {
		t.Helper()
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, entry := range entries {
			path, err := os.Readlink(filepath.Join(dir, entry.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue // it is a program that has just begun: this one it has closed again
			}
			require.NoError(t, err)
			paths = append(paths, path)
		}
		return paths
	}
	require.Contains(t, openIn(p.pid()), pidfile)
	require.NotContains(t, openIn(child.Pid), pidfile)
}
