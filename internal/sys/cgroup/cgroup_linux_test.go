package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

func TestMain(m *testing.M) { proctest.Main(m, false) }

// inside runs one of the functions below in a control group. A test starts this program there.
var inside = proctest.Register("inside", func(args []string) int {
	if err := functions[args[0]](); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
})

var functions map[string]func() error

func init() {
	functions = map[string]func() error{
		"refused": refused, "kill": killAll, "frozen": killAllFrozen, "tree": treeOfGroups, "divided": divided,
		"abandoned": abandonedGroups, "moved": movedInside, "hold": hold, "others": otherUsers,
		"adopt": adoptGroup,
	}
}

// runInside runs one of these functions to its end.
func runInside(t *testing.T, delegated bool, what string) (said, dir string) {
	t.Helper()
	t.Parallel()
	dir = proctest.Cgroup(t, delegated)
	got := proctest.CallCommand(t, proctest.InCgroup(t, proctest.Command(inside, what), dir))
	require.Zero(t, got.Code, "%s%s", got.Stdout, got.Stderr)
	return got.Stdout, dir
}

// newGroup makes a group in the group of this process.
func newGroup(owner string) (*Tree, *Group, error) {
	tree, err := Own()
	if err != nil {
		return nil, nil, err
	}
	group, err := tree.New(owner)
	return tree, group, err
}

// startIn starts a shell in the group and waits until it has written a line.
func startIn(g *Group, script string) (*exec.Cmd, error) {
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(g.Dir().Fd())}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	line := make([]byte, 100)
	_, err = out.Read(line)
	return cmd, err
}

// leaver is a script that leaves processes behind. They have their own sessions, and ignore TERM.
const leaver = `trap "" TERM
for i in 1 2 3; do setsid sh -c '(sleep 60 & sleep 60) & sleep 60' >/dev/null 2>&1 & done
echo; wait`

func TestAllProcessesOfAGroupAreKilledAtOnce(t *testing.T) {
	_, dir := runInside(t, true, "kill")
	require.Empty(t, proctest.Cgroups(t, dir))
}

func TestAllProcessesOfAGroupAreKilledBeforeLinux514(t *testing.T) {
	_, dir := runInside(t, true, "frozen")
	require.Empty(t, proctest.Cgroups(t, dir))
}

func killAll() error { return killBy((*Group).Kill) }

func killAllFrozen() error {
	return killBy(func(g *Group, deadline time.Time) error { return g.killFrozen(deadline) })
}

func killBy(kill func(*Group, time.Time) error) error {
	_, g, err := newGroup("x")
	if err != nil {
		return err
	}
	if g.Populated() {
		return errors.New("the group is populated before a process is in it")
	}
	cmd, err := startIn(g, leaver)
	if err != nil {
		return err
	}
	for end := time.Now().Add(proctest.Patience); ; time.Sleep(time.Millisecond) {
		n := 0
		if err := g.Each(func(Process) { n++ }); err != nil {
			return err
		}
		if n >= 1+3*3 {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d processes in the group", n)
		}
	}
	if err := g.Remove(); !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("a populated group was removed: %w", err)
	}
	again := g.in.abandoned("x")
	if len(again) != 1 {
		return fmt.Errorf("the group is not found again: %v", again)
	}
	g = again[0]
	if err := kill(g, time.Now().Add(proctest.Patience)); err != nil {
		return err
	}
	_ = cmd.Wait()
	if g.Populated() {
		return errors.New("processes remain")
	}
	return g.Remove()
}

func TestNestedGroupsAreKilledAndRemoved(t *testing.T) {
	_, dir := runInside(t, true, "tree")
	require.Empty(t, proctest.Cgroups(t, dir))
}

func treeOfGroups() error {
	_, g, err := newGroup("")
	if err != nil {
		return err
	}
	top := g.dirPath()
	// The group is frozen, and a process has moved itself into a nested group.
	cmd, err := startIn(g, fmt.Sprintf(`cd %q; mkdir -p a/b/c d/e
echo $$ >a/b/c/cgroup.procs; echo 1 >d/cgroup.freeze
sh -c 'echo $$ >d/cgroup.procs; sleep 60' >/dev/null & echo; exec sleep 60`, top))
	if err != nil {
		return err
	}
	met := map[int]bool{}
	end := time.Now().Add(proctest.Patience)
	for ; len(met) < 2 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err := g.Each(func(p Process) { met[p.PID] = true }); err != nil {
			return err
		}
	}
	if !met[cmd.Process.Pid] || len(met) < 2 {
		return fmt.Errorf("met %v", met)
	}
	if err := g.Kill(time.Now().Add(proctest.Patience)); err != nil {
		return err
	}
	_ = cmd.Wait()
	if err := g.Remove(); err != nil {
		return err
	}
	return g.Remove() // a second Remove changes nothing
}

func (g *group) dirPath() string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", g.dir.Fd()))
	return path
}

func TestAGroupIsAbandonedWhenItsOwnerHasEnded(t *testing.T) {
	_, dir := runInside(t, true, "abandoned")
	require.Empty(t, proctest.Cgroups(t, dir))
}

// hold makes a group that is never removed.
func hold() error {
	_, _, err := newGroup("x")
	fmt.Println("made")
	if err == nil {
		select {}
	}
	return err
}

func abandonedGroups() error {
	tree, err := Own()
	if err != nil {
		return err
	}
	count := func() int { return len(below(tree.root)) }
	cmd := proctest.Command(inside, "hold")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	if _, err := out.Read(make([]byte, 10)); err != nil {
		return err
	}
	if found := tree.Abandoned("x"); len(found) != 0 || count() != 1 {
		return fmt.Errorf("found a group although its owner lives: %v", found)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if found := tree.Abandoned(""); len(found) != 0 || count() != 0 {
		return fmt.Errorf("%d groups remain, %v", count(), found)
	}
	// Abandoned does not touch a group that another user could have made.
	foreign := namePrefix("x") + "1-1"
	if err := errors.Join(tree.root.Mkdir(foreign, 0o755), tree.root.Mkdir("other", 0o700)); err != nil {
		return err
	}
	if found := tree.Abandoned("x"); len(found) != 0 || count() != 2 {
		return fmt.Errorf("%d groups remain, %v", count(), found)
	}
	return errors.Join(tree.root.Remove(foreign), tree.root.Remove("other"))
}

func TestKillDoesNotKillItsOwnProcess(t *testing.T) { runInside(t, true, "moved") }

func movedInside() error {
	_, g, err := newGroup("")
	if err != nil {
		return err
	}
	up := filepath.Dir(g.dirPath())
	move := func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
	}
	if err := move(g.dirPath()); err != nil {
		return err
	}
	if err := g.Kill(time.Now().Add(proctest.Patience)); err == nil || !strings.Contains(err.Error(), "moved into") {
		return fmt.Errorf("the group was not refused: %w", err)
	}
	if err := g.Each(func(Process) { err = errors.New("the process has visited itself") }); err != nil {
		return err
	}
	return errors.Join(err, move(up), g.Remove())
}

func TestAnotherUserCannotUseTheGroup(t *testing.T) { runInside(t, true, "others") }

func otherUsers() error {
	_, g, err := newGroup("")
	if err != nil {
		return err
	}
	for _, script := range []string{
		"echo $$ >" + g.dirPath() + "/cgroup.procs", "mkdir " + g.dirPath() + "/x",
		"echo 1 >" + g.dirPath() + "/cgroup.kill",
		"echo $$ >" + filepath.Dir(g.dirPath()) + "/cgroup.procs",
		"ls " + g.dirPath(),
	} {
		cmd := exec.Command("sh", "-c", script)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: 12345, Gid: 12345}, UseCgroupFD: true, CgroupFD: int(g.Dir().Fd()),
		}
		if cmd.Run() == nil {
			return fmt.Errorf("the script succeeded: %s", script)
		}
	}
	return g.Remove()
}
