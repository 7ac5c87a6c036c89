package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/proc"
)

// sweptProgram has a child that announces it, and ends on TERM. A child that has not executed its
// program yet may ignore a TERM.
const sweptProgram = `trap "exit 0" TERM; trap : HUP; P=$$ sh -c 'echo I am $P; exec sleep 60' & while :; do wait; done`

// sweptArgs returns the arguments of guard for the sweep. Where possible, the program changes its
// user, and then outlives its supervisor.
func (b *background) sweptArgs(verb string) []string {
	args := append(b.args("supervise=min:-1ns,settle:20ms", verb, "--"), strings.Fields(changesUser)...)
	if os.Geteuid() != 0 {
		args = b.args("supervise=min:-1ns,settle:20ms", verb, "--")
	}
	return append(args, "sh", "-c", sweptProgram)
}

// instances returns the programs whose process groups have members, in the order of their starts.
func (b *background) instances() (pids []int) {
	b.t.Helper()
	lives := map[int]bool{}
	for _, p := range proc.List() {
		lives[p.Group] = lives[p.Group] || !p.Ended
	}
	for _, said := range iAm().FindAllStringSubmatch(b.said(), -1) {
		pid, err := strconv.Atoi(said[1])
		require.NoError(b.t, err)
		if lives[pid] {
			pids = append(pids, pid)
		}
	}
	return pids
}

// hasReadyWorker reports whether the daemon has a ready worker whose PID is not before. Unlike
// worker, it does not wait, because the daemon may be killed at any time.
func (b *background) hasReadyWorker(before int) bool {
	found, err := lifecycle.Find(b.pidfile)
	if err != nil {
		return false
	}
	defer found.Close()
	s, err := found.Status()
	return err == nil && s.Phase == lifecycle.Ready && s.Worker != 0 && s.Worker != before
}

// sweepSupervisor kills the supervisor at that call, during the operation. It requires that one
// instance of the program or none remains, and that the next start works.
func sweepSupervisor(t *testing.T, operation string, at int) (outcome string, count int) {
	t.Helper()
	b := inBackground(t)
	t.Cleanup(func() {
		for _, pid := range b.instances() {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	})
	first := 0
	if operation == "start" {
		first = at
	}
	args := append([]string{strconv.Itoa(daemonStage), strconv.Itoa(first), guard}, b.sweptArgs("start")...)
	p := followTraced(t, proctest.Command(tracer, args...), b.pidfile)
	code := p.awaitExit()
	if operation != "start" {
		require.Equal(t, 0, code, "%s", p.Out)
		worker, supervisor := b.worker(0), b.status().PID
		b.announced(1)
		p.countAnew(at)
		switch operation {
		case "restart of the worker":
			require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
			proctest.Eventually(t, func() bool {
				return len(p.numbers("killed")) > 0 || len(iAm().FindAllString(b.said(), -1)) > 1 && b.hasReadyWorker(worker)
			}, "the next worker, or the end of the supervisor %d", supervisor)
		default:
			_ = proctest.Call(t, guard, b.args(operation)...)
		}
	}
	count = p.letGo()[daemonStage]
	killed := p.numbers("killed")
	if len(killed) > 0 { // its first thread may end before the others
		proctest.Eventually(t, func() bool { p, ok := proc.Of(killed[1]); return !ok || p.Ended }, "the end of pid %d", killed[1])
	}
	what := fmt.Sprintf("killed %v; then:\n%s\n%s", killed, p.Out, b.said())
	if strings.Contains(what, "cannot list the processes that the worker left behind") {
		// The tracer slows the supervisor. After two seconds, the next worker runs beside an orphan.
		_ = proctest.Call(t, guard, b.args("stop")...)
		return operation + ": the time was too short", count
	}
	require.LessOrEqual(t, len(b.instances()), 1, what)

	got := proctest.Call(t, guard, b.sweptArgs("start")...)
	if mustLook(t, b.pidfile).Held && got.Code == 1 {
		require.Contains(t, got.Stderr, "already running", what)
	} else {
		require.Equal(t, 0, got.Code, "%s\n%s\n%s", got.Stderr, what, b.said())
	}
	proctest.Eventually(t, func() bool { return len(b.instances()) > 0 }, "an instance")
	require.Len(t, b.instances(), 1, what)
	outcome = fmt.Sprintf("%s: the next start exits with %d", operation, got.Code)
	got = proctest.Call(t, guard, b.args("stop")...)
	require.Equal(t, 0, got.Code, "%s\n%s", got.Stderr, what)
	require.Empty(t, b.instances(), what)
	b.requireNothingLeft()
	return outcome, count
}

// The supervisor is killed at any of its system calls.
// Row D10.
func TestAKillDuringTheWorkOfASupervisorLeavesOneInstanceOrNone(t *testing.T) {
	needsTrace(t)
	proctest.Needs(t, "setpriv")
	t.Parallel()
	for _, operation := range proctest.Few(1, []string{"start", "restart of the worker", "reload", "stop"}) {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			_, count := sweepSupervisor(t, operation, 0)
			sweepAll(t, count, proctest.Rounds(1, 4, 4), func(t *testing.T, at int) string {
				outcome, _ := sweepSupervisor(t, operation, at)
				return outcome
			})
		})
	}
}
