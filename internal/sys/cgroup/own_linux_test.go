package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestAGroupThatWasNotDelegatedIsNotDivided(t *testing.T) {
	said, dir := runInside(t, false, "refused")
	require.Contains(t, said, "was not delegated")
	require.Empty(t, proctest.Cgroups(t, dir))
}

func TestAGroupOfThreadsIsNotDivided(t *testing.T) {
	proctest.Needs(t, "root")
	dir := proctest.Cgroup(t, true)
	inner := filepath.Join(dir, "inner")
	require.NoError(t, os.Mkdir(inner, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(inner, "cgroup.type"), []byte("threaded"), 0))
	got := proctest.CallCommand(t, proctest.InCgroup(t, proctest.Command(inside, "refused"), dir))
	require.Zero(t, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Contains(t, got.Stdout, "the root group of the machine")
}

func refused() error {
	tree, err := own()
	if tree != nil {
		return errors.New("the group may be divided")
	}
	fmt.Println(err)
	return nil
}

// Process 1 of a container may divide the group at the root of its cgroup namespace, unless a
// process from outside of the container is in that group too.
func TestProcess1OfAContainerMayDivideItsGroup(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, "unshare", "-mpf", "-C", "--mount-proc")
	dir, at := proctest.Cgroup(t, false), t.TempDir()
	enter := fmt.Sprintf("echo 0 >%s/cgroup.procs && ", dir)
	exec1 := `exec unshare -C sh -c 'mount -t cgroup2 none ` + at + ` && exec "$0" "$@"' "$0" "$@"`
	container := []string{"unshare", "-mpf", "--mount-proc", "sh", "-c", enter + exec1}
	got := proctest.CallCommand(t, proctest.Wrapped(container, inside, "divided"))
	require.Zero(t, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Empty(t, proctest.Cgroups(t, dir))

	got = proctest.CallCommand(t, proctest.InCgroup(t, proctest.Wrapped(container, inside, "refused"), dir))
	require.Zero(t, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Contains(t, got.Stdout, "contains processes outside this PID namespace", "the process that waits for the container is in the group")

	// This command is not process 1.
	container[5] = enter + strings.Replace(exec1, `exec "$0" "$@"'`, `"$0" "$@"; exit $?'`, 1)
	got = proctest.CallCommand(t, proctest.Wrapped(container, inside, "refused"))
	require.Zero(t, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Contains(t, got.Stdout, "was not delegated")
}

func divided() error {
	_, g, err := newGroup("")
	if err != nil {
		return err
	}
	return g.Remove()
}

func TestDirectoryUsesTheMountOfTheGroup(t *testing.T) {
	t.Parallel()
	for mounts, want := range map[string]string{
		"": "",
		"1 0 0:1 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu\n":                     "",
		"1 0 0:1 / /sys/fs/cgroup rw,x shared:1 - cgroup2 cgroup2 rw\n":            "/sys/fs/cgroup/a/b",
		"1 0 0:1 /a /sys/fs/c\\040g rw - cgroup2 cgroup2 rw\n":                     "/sys/fs/c g/b",
		"1 0 0:1 /a/b/c /x rw - cgroup2 cgroup2 rw\n":                              "",
		"1 0 0:1 /../.. /x rw - cgroup2 cgroup2 rw\n":                              "",
		"1 0 0:1 /../.. /x rw - cgroup2 c rw\n2 1 0:2 /a/b /y rw - cgroup2 c rw\n": "/y",
	} {
		dir, isTop := directory(mounts, "/a/b")
		require.Equal(t, want, dir, "%s", mounts)
		require.False(t, isTop)
	}
	_, isTop := directory("1 0 0:1 / /x rw - cgroup2 c rw", "/")
	require.True(t, isTop)
	dir, _ := directory("1 0 0:1 / /x rw - cgroup2 c rw", "/../a")
	require.Empty(t, dir)
}

func TestALimitIsAnyValueExceptMax(t *testing.T) {
	t.Parallel()
	require.False(t, isLimit("max 100000\n"))
	require.False(t, isLimit("max\n"))
	require.True(t, isLimit("200000 100000\n"))
	require.True(t, isLimit("1073741824\n"))
}
