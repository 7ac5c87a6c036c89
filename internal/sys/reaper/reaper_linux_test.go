package reaper

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/detach"
)

// child is the variable that selects what this binary does instead of running the tests. A separate
// process has its own children.
const child = "REAPER_TEST_CHILD"

var programs = map[string]func() error{
	"exit codes": exitCodes, "zombie of other code": besideAZombie, "orphans": livingOrphans, "nobody": nobody, "claims": claimsOfChildren,
}

func TestMain(m *testing.M) {
	name := os.Getenv(child)
	if name == "" {
		os.Exit(m.Run())
	}
	time.AfterFunc(60*time.Second, func() { os.Exit(99) })
	detach.AdoptOrphans()
	if err := programs[name](); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("done, as process", os.Getpid() == 1)
	os.Exit(0)
}

func runProgram(t *testing.T, wrapper []string, name string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	line := append(slices.Clone(wrapper), self)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), child+"="+name, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, fmt.Sprintf("done, as process %v\n", wrapper != nil), string(out))
}

// ownPIDs makes a command process 1 of a new PID namespace.
var ownPIDs = []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}

// asBoth runs the program as a subreaper, and as process 1 of a PID namespace.
func asBoth(t *testing.T, name string) {
	t.Helper()
	t.Run("subreaper", func(t *testing.T) {
		t.Parallel()
		runProgram(t, nil, name)
	})
	t.Run("process 1", func(t *testing.T) {
		if out, err := exec.Command(ownPIDs[0], append(ownPIDs[1:], "true")...).CombinedOutput(); err != nil {
			t.Skipf("this test needs the right to %v: %v: %s", ownPIDs, err, out)
		}
		t.Parallel()
		runProgram(t, ownPIDs, name)
	})
}

// eventually waits for a condition.
func eventually(what string, is func() bool) error {
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("timed out waiting for " + what)
		}
	}
	return nil
}

// orphans returns the PIDs of the live orphans.
func orphans() (pids []int) {
	if err := EachOrphan(func(o Orphan) { pids = append(pids, o.PID) }); err != nil {
		panic(err)
	}
	return pids
}

func noChildren() bool {
	_, err := ended(unix.P_ALL, 0)
	return err == unix.ECHILD
}

// Row J1.
func TestTheExitCodesOfOsExecAreNeverTaken(t *testing.T) {
	t.Parallel()
	asBoth(t, "exit codes")
}

// exitCodes starts children while other goroutines reap. In CI it starts a thousand. Each child
// leaves an orphan.
func exitCodes() error {
	stop := make(chan struct{})
	var reapers, starters sync.WaitGroup
	for range 2 {
		reapers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					Reap()
				}
			}
		})
	}
	errs := make(chan error, 1000)
	for start := range 4 {
		starters.Go(func() {
			for i := range proctest.Rounds(25, 250, 250) {
				code := (start + i) % 256
				err := exec.Command("sh", "-c", "(exit 77) & exit "+strconv.Itoa(code)).Run()
				if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == code || err == nil && code == 0 {
					continue
				}
				errs <- fmt.Errorf("exit %d: %w", code, err)
			}
		})
	}
	starters.Wait()
	err := eventually("the end of every orphan", noChildren)
	close(stop)
	reapers.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

func TestAZombieOfOtherCodeDoesNotHideOrphans(t *testing.T) {
	t.Parallel()
	asBoth(t, "zombie of other code")
}

func besideAZombie() error {
	cmd := exec.Command("sh", "-c", "exit 7")
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := eventually("a zombie", func() bool { pid, _ := ended(unix.P_ALL, 0); return pid == cmd.Process.Pid }); err != nil {
		return err
	}
	left, until, err := leave(3)
	if err != nil {
		return err
	}
	until.Close()
	var reaped []int
	err = eventually("three orphans", func() bool { reaped = append(reaped, Reap()...); return len(reaped) >= 3 })
	if slices.Sort(reaped); err != nil || !slices.Equal(reaped, left) {
		return fmt.Errorf("reaped %v, and left were %v: %w", reaped, left, err)
	}
	if again := Reap(); again != nil || orphans() != nil {
		return fmt.Errorf("reaped %v", again)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		return err
	}
	return nil
}

// leave makes n orphans, waits until they are children of this process, and returns their PIDs.
// They end when until is closed.
func leave(n int) (pids []int, until io.Closer, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	cmd := exec.Command("sh", "-c", fmt.Sprintf("for i in $(seq %d); do (read x <&3) >/dev/null 2>&1 & echo $!; done", n))
	cmd.ExtraFiles = []*os.File{r}
	out, err := cmd.Output()
	for _, field := range strings.Fields(string(out)) {
		pid, numberErr := strconv.Atoi(field)
		pids, err = append(pids, pid), errors.Join(err, numberErr)
	}
	slices.Sort(pids)
	return pids, w, err
}

func TestOrphansAreLivingChildrenThatThisProcessDidNotStart(t *testing.T) {
	t.Parallel()
	asBoth(t, "orphans")
}

func livingOrphans() error {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	left, until, err := leave(3)
	if err != nil {
		return err
	}
	defer until.Close()
	got := orphans()
	if !slices.Equal(got, left) {
		return fmt.Errorf("orphans are %v, and left were %v", got, left)
	}
	if all := scan(os.Getpid()); !slices.Equal(slices.Sorted(slices.Values(all)), children()) || len(all) != 4 {
		return fmt.Errorf("children are %v, and by parent %v", children(), all)
	}
	if err := syscall.Kill(left[0], syscall.SIGKILL); err != nil {
		return err
	}
	if err := eventually("a zombie", func() bool { pid, _ := ended(unix.P_ALL, 0); return pid == left[0] }); err != nil {
		return err
	}
	if got := orphans(); !slices.Equal(got, left[1:]) {
		return fmt.Errorf("a zombie is listed: %v", got)
	}
	if got := Reap(); !slices.Equal(got, left[:1]) {
		return fmt.Errorf("reaped %v", got)
	}
	return nil
}

func TestAProcessWithoutChildrenReapsNothing(t *testing.T) {
	t.Parallel()
	asBoth(t, "nobody")
}

func nobody() error {
	if reaped, left := Reap(), orphans(); reaped != nil || left != nil || !noChildren() {
		return fmt.Errorf("%v %v", reaped, left)
	}
	return nil
}

func TestAPidfdIsAClaimUntilItIsClosed(t *testing.T) {
	t.Parallel()
	asBoth(t, "claims")
}

func claimsOfChildren() error {
	if !claimsAreMade() {
		return errors.New("this system has no pidfds")
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	if got, err := claims(); err != nil || !slices.Equal(got, []int{pid}) {
		return fmt.Errorf("claims are %v: %w", got, err)
	}
	second, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	if err := cmd.Process.Release(); err != nil {
		return err
	}
	if orphans() != nil {
		return errors.New("the second file still holds the claim")
	}
	if got, err := claims(second); err != nil || got != nil {
		return fmt.Errorf("claims are %v: %w", got, err)
	}
	unix.Close(second)
	if got := orphans(); !slices.Equal(got, []int{pid}) {
		return fmt.Errorf("orphans are %v", got)
	}
	in.Close()
	if _, err := bufio.NewReader(out).ReadByte(); err != io.EOF {
		return err
	}
	return eventually("its end", func() bool { return slices.Equal(Reap(), []int{pid}) && noChildren() })
}
