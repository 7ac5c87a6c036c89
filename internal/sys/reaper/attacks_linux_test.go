package reaper

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

func init() {
	for name, program := range map[string]func() error{
		"PID of an orphan": pidOfAnOrphan, "storm": storm, "few descriptors": fewDescriptors, "not ours to signal": notOursToSignal,
		"namespace": namespace, "own child": ownChild,
	} {
		programs[name] = program
	}
	for name, script := range bombs {
		programs["bomb "+name] = func() error { return bomb(script) }
	}
}

// asProcess1 runs the program as process 1 of a new PID namespace.
func asProcess1(t *testing.T, name string) {
	t.Helper()
	line := append(slices.Clone(ownPIDs[1:]), "setpriv", "--reuid=1", "prlimit", "--nproc=1000", "true")
	if out, err := exec.Command(ownPIDs[0], line...).CombinedOutput(); err != nil || os.Getuid() != 0 {
		t.Skipf("this test needs root and the right to %v: %v: %s", line, err, out)
	}
	t.Parallel()
	runProgram(t, ownPIDs, name)
}

func TestAnotherProcessWithThePIDOfAnOrphanIsNotSignalled(t *testing.T) {
	asProcess1(t, "PID of an orphan")
}

// pidOfAnOrphan lists an orphan and reaps it. Then another process gets its PID, and the function
// visits the listed PID.
func pidOfAnOrphan() error {
	left, until, err := leave(1)
	if err != nil {
		return err
	}
	until.Close()
	if err := eventually("its end", func() bool { return slices.Equal(Reap(), left) }); err != nil {
		return err
	}
	// The other process is a child of the shell, not of this process.
	cmd := exec.Command("sh", "-c", fmt.Sprintf("echo %d >/proc/sys/kernel/ns_last_pid; sleep 60 & echo $!; wait", left[0]-1))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var stranger int
	if _, err := fmt.Fscan(out, &stranger); err != nil || stranger != left[0] {
		return fmt.Errorf("the other process is %d and not %d: %w", stranger, left[0], err)
	}
	return errors.Join(
		unmet(stranger, Orphan{}, 0),
		// The other process has another parent.
		unmet(stranger, Orphan{PID: 1, fd: -1}, 1),
		// The parent has the PID of the listed process.
		unmet(stranger, Orphan{PID: cmd.Process.Pid, fd: gone()}, 1),
		unmet(cmd.Process.Pid, Orphan{PID: cmd.Process.Pid, fd: -1}, 1), // a process is not its own child
	)
}

// gone returns a pidfd of a process that has ended and was reaped.
func gone() (fd int) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		panic(err)
	}
	if fd, err = unix.PidfdOpen(cmd.Process.Pid, 0); err != nil {
		panic(err)
	}
	in.Close()
	_ = cmd.Wait()
	return fd
}

func unmet(pid int, parent Orphan, level int) (err error) {
	l := &look{deep: true, until: time.Now().Add(time.Minute), child: func(o Orphan) {
		err = fmt.Errorf("pid %d was met below %d", o.PID, parent.PID)
	}}
	l.at(pid, parent, level)
	return errors.Join(err, l.err)
}

func TestAChildThatOtherCodeStartedIsNotKilled(t *testing.T) {
	t.Parallel()
	asBoth(t, "own child")
}

// ownChild kills orphans again and again, while other code starts children.
func ownChild() error {
	errs := make(chan error, 1)
	go func() {
		defer close(errs)
		for range proctest.Rounds(10, 100, 100) {
			if err := exec.Command("sh", "-c", "(trap '' TERM; sleep 60) & (exit 0) & sh -c 'exit 0'").Run(); err != nil {
				errs <- err
				return
			}
		}
	}()
	for {
		select {
		case err := <-errs:
			return errors.Join(err, Kill(time.Now().Add(20*time.Second)))
		default:
			if err := Kill(time.Now().Add(20 * time.Second)); err != nil {
				return err
			}
		}
	}
}

// bombs are scripts that leave processes. These processes ignore TERM and fork until the file named
// by $0 is gone. There are at most 200 of them.
var bombs = map[string]string{
	"that forks and exits":             `f() { [ -e $0 ] && f & }; f`,
	"that forks and stays":             `f() { while [ -e $0 ]; do g & done; }; g() { sleep 60; }; f &`,
	"that grows":                       `f() { [ -e $0 ] || exit; f & f & wait; }; f &`,
	"that is deep":                     `f() { [ -e $0 ] || exit; f & wait; }; f &`,
	"that leaves its session":          `[ -e $0 ] && exec setsid sh -c "$F" $0 &`,
	"that starts daemons all the time": `f() { while [ -e $0 ]; do (sleep 0.01 & ) done; }; f &`,
}

func TestForkBombsAreEnded(t *testing.T) {
	t.Parallel()
	for name := range bombs {
		t.Run(name, func(t *testing.T) { asProcess1(t, "bomb "+name) })
	}
}

func bomb(script string) error {
	dir, err := os.MkdirTemp("", "reaper")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	gate := filepath.Join(dir, "gate")
	if err := errors.Join(os.WriteFile(gate, nil, 0o644), os.Chmod(dir, 0o755)); err != nil {
		return err
	}
	cmd := exec.Command("setpriv", "--reuid=61234", "--regid=61234", "--clear-groups", "prlimit", "--nproc=200",
		"sh", "-c", "trap '' TERM HUP INT; "+script, gate)
	cmd.Env = append(os.Environ(), "F=trap '' TERM; "+script)
	if err := cmd.Run(); err != nil {
		return err
	}
	for range 100 { // the forking continues during the reaping
		Reap()
	}
	if err := Kill(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	Reap()
	if all, _ := filepath.Glob("/proc/[0-9]*"); len(all) != 1 || !noChildren() {
		return fmt.Errorf("left are %v", all)
	}
	return nil
}

func TestReapReturnsWhileProcessesForkAndExit(t *testing.T) {
	t.Parallel()
	asBoth(t, "storm")
}

func storm() error {
	f, err := os.CreateTemp("", "gate")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := exec.Command("sh", "-c", bombs["that forks and exits"], f.Name()).Run(); err != nil {
		return err
	}
	reaped := 0
	err = eventually("a hundred orphans", func() bool { reaped += len(Reap()); return reaped > 100 })
	return errors.Join(err, os.Remove(f.Name()), eventually("the end of the last orphan", func() bool { Reap(); return noChildren() }))
}

func TestAPassOverManyOrphansNeedsFewDescriptors(t *testing.T) {
	t.Parallel()
	asBoth(t, "few descriptors")
}

func fewDescriptors() error {
	left, until, err := leave(300)
	if err != nil {
		return err
	}
	defer until.Close()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	few := uint64(len(fds) + 10)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: few, Max: few}); err != nil {
		return err
	}
	if got := orphans(); len(got) != len(left) {
		return fmt.Errorf("%d of %d orphans were met", len(got), len(left))
	}
	if err := Kill(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	return eventually("their end", func() bool { Reap(); return noChildren() })
}

func TestTheWaitForOrphansThatCannotBeSignalledIsLimited(t *testing.T) {
	asProcess1(t, "not ours to signal")
}

func notOursToSignal() error {
	left, until, err := leave(2)
	if err != nil {
		return err
	}
	defer until.Close()
	if err := syscall.Setuid(61234); err != nil {
		return err
	}
	if err := Kill(time.Now().Add(300 * time.Millisecond)); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("killed %v: %w", left, err)
	}
	if got := orphans(); !slices.Equal(got, left) {
		return fmt.Errorf("orphans are %v, and left were %v", got, left)
	}
	return nil
}

func TestOrphansInAnotherPIDNamespaceAreEnded(t *testing.T) { asProcess1(t, "namespace") }

func namespace() error {
	script := "trap '' TERM; sleep 60 & unshare --pid --fork sh -c \"trap '' TERM; sleep 60 & sleep 60 & wait\" & exit 0"
	if err := exec.Command("sh", "-c", script).Run(); err != nil {
		return err
	}
	// These are process 1 with two orphans, and process 1 of the inner namespace with two orphans.
	err := eventually("all six processes", func() bool { all, _ := filepath.Glob("/proc/[0-9]*"); return len(all) == 6 })
	if err := errors.Join(err, Kill(time.Now().Add(20*time.Second))); err != nil {
		return err
	}
	all, _ := filepath.Glob("/proc/[0-9]*")
	living := slices.DeleteFunc(all, func(path string) bool {
		pid, _ := strconv.Atoi(filepath.Base(path))
		text, _ := os.ReadFile(path + "/stat")
		return pid == 1 || strings.Contains(string(text), ") Z ")
	})
	if len(living) > 0 {
		return fmt.Errorf("left are %v", living)
	}
	return nil
}
