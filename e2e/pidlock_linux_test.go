package e2e

import (
	"fmt"
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
	"example.com/lifecycle/internal/proctest"
)

const (
	service  = 12345 // a user without a database entry
	stranger = 54321 // another one
)

// faulty runs the program daemon under strace(1), with a fault in the system calls on its PID file
// (-e inject). The process is the daemon itself, because the tracer is a grandchild (-D).
// requireFault requires that the fault has occurred.
func faulty(t *testing.T, fault, pidfile string, args ...string) (cmd *exec.Cmd, requireFault func()) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	call, _, _ := strings.Cut(fault, ":")
	cmd = proctest.Wrapped([]string{"strace", "-D", "-I1", "-f", "-o", trace, "-P", pidfile, "-e", "trace=" + call, "-e", "inject=" + fault},
		daemon, append([]string{"pidfile=" + pidfile}, args...)...)
	return cmd, func() {
		t.Helper()
		proctest.Eventually(t, func() bool {
			text, err := os.ReadFile(trace)
			return err == nil && (strings.Contains(string(text), "(INJECTED)") || strings.Contains(string(text), "stopped by SIGSTOP"))
		}, "the fault %s", fault)
	}
}

func needsStrace(t *testing.T) { t.Helper(); proctest.NeedsCommand(t, "strace", "-o", os.DevNull) }

// startPausing starts a daemon that pauses after its first call of that system call on the PID
// file. awaitPause waits until it pauses. resume continues the daemon.
func startPausing(t *testing.T, call, pidfile string) (p *proctest.Process, awaitPause, resume func()) {
	t.Helper()
	cmd, awaitPause := faulty(t, call+":signal=STOP:when=1", pidfile, "run")
	p = proctest.Launch(t, cmd)
	return p, awaitPause, func() {
		t.Helper()
		tracer, err := strconv.Atoi(statusField(t, p.PID(), "TracerPid"))
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(tracer, syscall.SIGTERM)) // strace detaches
		proctest.Eventually(t, func() bool { return statusField(t, p.PID(), "TracerPid") == "0" }, "the end of strace")
		p.Signal(syscall.SIGCONT)
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

// Another process can replace or remove the file between open and lock.
// Row A8.
func TestAStartThatLocksAFileWhichIsGoneTriesAgain(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for what, meanwhile := range map[string]func(t *testing.T, pidfile string) (owner *proctest.Process){
		"deleted": func(t *testing.T, pidfile string) *proctest.Process {
			require.NoError(t, os.Remove(pidfile))
			return nil
		},
		"replaced": func(t *testing.T, pidfile string) *proctest.Process {
			other := pidfile + ".other"
			require.NoError(t, os.WriteFile(other, []byte("12345\n"), 0o644))
			require.NoError(t, os.Rename(other, pidfile))
			return nil
		},
		"used and left": func(t *testing.T, pidfile string) *proctest.Process {
			requireStarts(t, pidfile)
			return nil
		},
		"taken": func(t *testing.T, pidfile string) *proctest.Process {
			p := proctest.Start(t, daemon, "pidfile="+pidfile)
			p.Await("msg=ready")
			return p
		},
		"used and left, and taken": func(t *testing.T, pidfile string) *proctest.Process {
			requireStarts(t, pidfile)
			p := proctest.Start(t, daemon, "pidfile="+pidfile)
			p.Await("msg=ready")
			return p
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDPath(t)
			p, awaitPause, resume := startPausing(t, "openat", pidfile)
			awaitPause()
			proctest.RequireText(t, pidfile, "")
			owner := meanwhile(t, pidfile)
			resume()
			if owner != nil {
				require.Equal(t, 1, p.Wait(), "%s", p.Out)
				require.Equal(t, 1, p.Out.Count(fmt.Sprintf("already running (pid %d)", owner.PID())), "%s", p.Out)
				requireRunning(t, pidfile, owner.PID())
				return
			}
			p.Await("msg=ready")
			proctest.RequireText(t, pidfile, fmt.Sprintln(p.PID()))
			requireRefused(t, 1, alreadyRunning(p.PID()), pidfile)
			p.Signal(syscall.SIGTERM)
			require.Equal(t, 0, p.Wait())
			requireNothingLeft(t, pidfile)
		})
	}
}

// Row A9.
func TestAStartBetweenUnlinkAndUnlockGetsANewFile(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	p, awaitPause, resume := startPausing(t, "unlinkat", pidfile)
	p.Await("msg=ready")
	p.Signal(syscall.SIGTERM)
	awaitPause()
	require.NoFileExists(t, pidfile)
	p.Await("OnExit done") // the daemon only has to end
	require.Equal(t, proctest.Result{Stdout: notRunning(pidfile), Code: 3}, callVerb(t, pidfile, "status"))

	next := proctest.Start(t, daemon, "pidfile="+pidfile)
	next.Await("msg=ready")
	resume()
	require.Equal(t, 0, p.Wait())
	requireRunning(t, pidfile, next.PID())
	requireRefused(t, 1, alreadyRunning(next.PID()), pidfile)
}

// Row A12.
func TestAnotherMountOfTheDirectoryIsTheSameFile(t *testing.T) {
	needsMount(t)
	t.Parallel()
	p, pidfile := startDaemon(t)
	view := t.TempDir()
	mount(t, filepath.Dir(pidfile), view, "", unix.MS_BIND, "")
	other := filepath.Join(view, filepath.Base(pidfile))
	requireRefused(t, 1, alreadyRunning(p.PID()), other)
	requireRunning(t, other, p.PID())
}

// Row A16.
func TestAnInterruptedSystemCallIsRepeated(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for _, call := range []string{"flock", "fcntl", "pwrite64", "ftruncate", "openat"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDPath(t)
			cmd, requireFault := faulty(t, call+":error=EINTR:when=1..3", pidfile)
			p := proctest.Launch(t, cmd)
			p.Await("msg=ready")
			requireFault()
			proctest.RequireText(t, pidfile, fmt.Sprintln(p.PID()))
			requireRunning(t, pidfile, p.PID())
			p.Signal(syscall.SIGTERM)
			require.Equal(t, 0, p.Wait())
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
			want := ": " + text + ": the file system must support flock(2): use a local one such as /run\n"
			for _, left := range []string{"nothing", "a stale file"} {
				pidfile := proctest.PIDPath(t)
				if left != "nothing" {
					require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o644))
				}
				requireUntouched := proctest.Untouched(t, pidfile)
				cmd, requireFault := faulty(t, "flock:error="+errno, pidfile, "run")
				got := proctest.CallCommand(t, cmd)
				requireFault()
				require.Equal(t, 1, got.Code)
				require.Empty(t, got.Stdout)
				requireLogged(t, got.Stderr, "start failed: PID file "+pidfile+": ")
				requireLogged(t, got.Stderr, want)
				requireUntouched()
			}
		})
	}
}

// The presence and owner locks are only information. Without them, a second daemon is still
// refused, and no verb gives a wrong answer.
func TestTheFlockWorksWithoutRecordLocks(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	cmd, requireFault := faulty(t, "fcntl:error=ENOLCK", pidfile)
	p := proctest.Launch(t, cmd)
	p.Await("msg=ready")
	requireFault()
	proctest.RequireText(t, pidfile, fmt.Sprintln(p.PID()))
	requireRefused(t, 1, "locked by another program", pidfile)
	status := callVerb(t, pidfile, "status")
	require.Equal(t, 4, status.Code)
	// A process that cannot read these locks uses the number.
	cmd, _ = faulty(t, "fcntl:error=ENOLCK", pidfile, "status")
	requireReady(t, p.PID(), proctest.CallCommand(t, cmd))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)
}

func needsMount(t *testing.T) {
	t.Helper()
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, "unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt")
}

func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	require.NoError(t, unix.Mount(source, target, kind, flags, data))
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
}

// readOnly makes the directory read-only. Open files stay open.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	mount(t, dir, dir, "", unix.MS_BIND, "")
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
}

// fillUp writes until the file system is full. free makes room again.
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

var ownPIDs = []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}

// refused repeatedly tries a start that is refused, and prints its number of descriptors before and
// after.
var refused = proctest.Register("refused", func(args []string) int {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			fmt.Println(err)
		}
		return len(entries)
	}
	_, _ = pidfile.Acquire(args[0], 0o644) // makes Go open its own descriptors
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
