package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// rightsOf returns the user, the rights, the root directory and the working directory of a process.
func rightsOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	rights := map[string]string{}
	for _, field := range []string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Umask"} {
		rights[field] = statusField(t, pid, field)
	}
	for _, link := range []string{"root", "cwd"} {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, link))
		require.NoError(t, err)
		rights[link] = target
	}
	return rights
}

// User, Chroot, WorkDir and Umask apply to the worker after an upgrade as before it. The supervisor
// keeps its own rights.
func TestAnUpgradeKeepsThePrivilegesOfTheWorker(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	root := jail(t)
	for _, args := range [][]string{
		{"user=54321:54322"},
		{"user=54321:54322", "workdir=" + root, "umask=027"},
		{"chroot=" + root},
		{"user=54321:54322", "chroot=" + root, "workdir=" + filepath.Join(root, "log")},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			t.Parallel()
			r := deployed(t)
			everybodyMayEnter(t, filepath.Dir(r.log))
			s := r.begin(args...)
			supervisor, worker := rightsOf(t, s.PID), rightsOf(t, s.Worker)
			require.NotEqual(t, supervisor, worker, "otherwise this test would prove nothing")
			for n := range 2 {
				version := fmt.Sprintf("2.%d", n)
				r.install(version)
				s = r.upgraded(s, version)
				require.Equal(t, supervisor, rightsOf(t, s.PID))
				require.Equal(t, worker, rightsOf(t, s.Worker))
			}
			require.NoError(t, syscall.Kill(s.Worker, syscall.SIGKILL))
			require.Equal(t, worker, rightsOf(t, r.worker(s.Worker)))
			r.stop()
		})
	}
}

// They apply to the programs that a new guard starts, too.
func TestAnUpgradeOfGuardKeepsThePrivilegesOfItsProgram(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	root := jailWithShell(t)
	everybodyMayEnter(t, root)
	for _, args := range [][]string{
		{"user=54321:54322", "workdir=" + root},
		{"user=54321:54322", "chroot=" + root, "workdir=" + filepath.Join(root, "bin")},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			t.Parallel()
			fifo := "/fifo"
			if len(args) == 2 { // without Chroot
				fifo = filepath.Join(root, "fifo")
			}
			r := deployed(t)
			r.program = guardRelease
			everybodyMayEnter(t, filepath.Dir(r.log))
			r.startGuard("read forever < "+fifo, args...)
			s := r.ready()
			supervisor, program := rightsOf(t, s.PID), rightsOf(t, s.Worker)
			require.Contains(t, program["Uid"], "54321")
			r.install("2.0")
			s = r.guardUpgraded(s, "2.0")
			require.Equal(t, supervisor, rightsOf(t, s.PID))
			require.Equal(t, program, rightsOf(t, s.Worker))
			require.NoError(t, syscall.Kill(s.Worker, syscall.SIGKILL))
			s = r.told("another program", func(now lifecycle.Status) bool {
				return now.Restarts == 1 && now.Phase == lifecycle.Ready && now.Worker != 0
			})
			require.Equal(t, program, rightsOf(t, s.Worker))
			r.stop()
		})
	}
}
