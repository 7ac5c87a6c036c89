package proctest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Cgroup makes a control group of version 2 and returns its directory. delegated selects whether
// the group is delegated. The end of the test kills all processes in the group. If the machine has
// no such groups, Cgroup skips the test, or fails it if LIFECYCLE_REQUIRE names "cgroup2".
func Cgroup(t *testing.T, delegated bool) (dir string) {
	t.Helper()
	Needs(t, "root")
	dir, err := makeCgroup(delegated)
	if err != nil && !slices.Contains(required(), "cgroup2") {
		t.Skipf("this test needs cgroup2, a control group of version 2 in which root makes others: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		Eventually(t, func() bool {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
			for _, inner := range Cgroups(t, dir) {
				_ = os.Remove(inner)
			}
			return os.Remove(dir) == nil
		}, "%s to be empty", dir)
	})
	return dir
}

func makeCgroup(delegated bool) (dir string, err error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	err = os.ErrNotExist
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !strings.HasPrefix(after, "cgroup2 ") || len(fields) < 5 {
			continue
		}
		if dir, err = os.MkdirTemp(fields[4], "test-lifecycle-"); err != nil {
			continue
		}
		err = os.Chmod(dir, 0o755)
		if delegated && err == nil { // as systemd does for Delegate=yes
			err = unix.Setxattr(dir, "trusted.delegate", []byte("1"), 0)
		}
		if _, missing := os.Stat(filepath.Join(dir, "cgroup.kill")); err == nil {
			err = missing // Linux before 5.14
		}
		if err == nil {
			return dir, nil
		}
		_ = os.Remove(dir)
	}
	return "", err
}

// Cgroups returns the directories of the groups inside a group.
func Cgroups(t *testing.T, dir string) (dirs []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		if entry.IsDir() {
			dirs = append(dirs, filepath.Join(dir, entry.Name()))
		}
	}
	return dirs
}

// InCgroup makes cmd start in a group.
func InCgroup(t *testing.T, cmd *exec.Cmd, dir string) *exec.Cmd {
	t.Helper()
	group, err := os.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { group.Close() })
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	return cmd
}

// CgroupOf returns the path of the group of a process in the version 2 tree.
func CgroupOf(t *testing.T, pid int) (path string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			return path
		}
	}
	return ""
}
