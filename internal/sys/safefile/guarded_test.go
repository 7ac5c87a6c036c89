//go:build unix

package safefile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	service  = 12345 // a user
	stranger = 54321 // another
)

// tree makes directories and symbolic links below a directory that belongs to root or the caller.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) tree {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return tree{t, root}
}

func (tr tree) at(name string) string { return tr.root + "/" + name } // not cleaned

func (tr tree) dir(name string, mode fs.FileMode, uid, gid int) {
	tr.t.Helper()
	require.NoError(tr.t, os.Mkdir(tr.at(name), 0o700))
	require.NoError(tr.t, os.Chown(tr.at(name), uid, gid))
	require.NoError(tr.t, os.Chmod(tr.at(name), mode))
}

func (tr tree) link(name, target string, uid int) {
	tr.t.Helper()
	require.NoError(tr.t, os.Symlink(target, tr.at(name)))
	require.NoError(tr.t, os.Lchown(tr.at(name), uid, uid))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make directories of other users")
	}
}

func TestGuardedChecksTheOwnerOfEachDirectory(t *testing.T) {
	needRoot(t)
	tr := newTree(t)
	tr.dir("root", 0o755, 0, 0)
	tr.dir("root/below", 0o755, 0, 0)
	tr.dir("service", 0o755, service, service)
	tr.dir("service/root", 0o755, 0, 0)
	tr.dir("group", 0o775, 0, service)
	tr.dir("group of root", 0o775, 0, 0)
	tr.dir("all", 0o777, 0, 0)
	tr.dir("sticky", 0o777|fs.ModeSticky, 0, 0)
	tr.dir("sticky group", 0o770|fs.ModeSticky, 0, service)
	tr.dir("sticky/root", 0o755, 0, 0)
	tr.dir("sticky/service", 0o755, service, service)
	tr.dir("sticky of service", 0o777|fs.ModeSticky, service, service)

	for _, c := range []struct {
		path   string
		owners []int
		why    string // why it is refused; "" if it is accepted
	}{
		{"file", nil, ""},
		{"root/file", nil, ""},
		{"root/below/file", nil, ""},
		{"root/../root/./below//file", nil, ""},
		{"group of root/file", nil, ""},
		{"sticky/file", nil, ""},
		{"sticky group/file", nil, ""},
		{"sticky/root/file", nil, ""},

		{"service/file", nil, "the directory %s/service in the path belongs to user 12345"},
		{"service/root/file", nil, "the directory %s/service in the path belongs to user 12345"},
		{"sticky/service/file", nil, "the directory %s/sticky/service in the path belongs to user 12345"},
		{"sticky of service/file", nil, "the directory %s/sticky of service in the path belongs to user 12345"},
		{"group/file", nil, "other users can write the directory %s/group in the path (mode 0775)"},
		{"all/file", nil, "other users can write the directory %s/all in the path (mode 0777)"},

		{"service/file", []int{service}, ""},
		{"service/root/file", []int{service}, ""},
		{"sticky/service/file", []int{service}, ""},
		{"sticky of service/file", []int{service}, ""},
		{"service/file", []int{stranger}, "the directory %s/service in the path belongs to user 12345"},
		{"all/file", []int{service}, "other users can write the directory %s/all in the path (mode 0777)"},
	} {
		requireGuarded(t, tr, c.path, c.owners, c.why)
	}
}

func TestGuardedFollowsOnlyLinksOfTrustedUsers(t *testing.T) {
	needRoot(t)
	tr := newTree(t)
	tr.dir("run", 0o755, 0, 0)
	tr.dir("run/deep", 0o755, 0, 0)
	tr.dir("service", 0o755, service, service)
	tr.dir("sticky", 0o777|fs.ModeSticky, 0, 0)
	tr.link("var-run", "run", 0) // like /var/run
	tr.link("absolute", tr.at("run"), 0)
	tr.link("chain", "var-run", 0)
	tr.link("deep", "run/deep", 0)
	tr.link("to service", "service", 0)
	tr.link("of service", "run", service)
	tr.link("sticky/of service", tr.at("run"), service)
	tr.link("service/up", "..", 0)

	for _, c := range []struct {
		path   string
		owners []int
		why    string
	}{
		{"var-run/file", nil, ""},
		{"absolute/file", nil, ""},
		{"chain/file", nil, ""},
		{"deep/file", nil, ""},
		{"deep/../file", nil, ""},
		{"to service/file", nil, "the directory %s/service in the path belongs to user 12345"},
		{"to service/file", []int{service}, ""},
		{"to service/../file", nil, "the directory %s/service in the path belongs to user 12345"},
		{"of service/file", nil, "the symbolic link %s/of service in the path belongs to user 12345"},
		{"of service/file", []int{service}, ""},
		{"of service/../file", nil, "the symbolic link %s/of service in the path belongs to user 12345"},
		{"sticky/of service/file", nil, "the symbolic link %s/sticky/of service in the path belongs to user 12345"},
		{"service/up/run/file", nil, "the directory %s/service in the path belongs to user 12345"},
	} {
		requireGuarded(t, tr, c.path, c.owners, c.why)
	}
}

// For the kernel, ".." after a link means the parent of the target.
func TestGuardedResolvesDotDotAsTheKernelDoes(t *testing.T) {
	needRoot(t)
	tr := newTree(t)
	tr.dir("service", 0o755, service, service)
	tr.dir("service/below", 0o755, service, service)
	tr.dir("root", 0o755, 0, 0)
	tr.link("root/link", "../service/below", 0)
	requireGuarded(t, tr, "root/link/../file", nil, "the directory %s/service in the path belongs to user 12345")
}

func TestGuardedAcceptsARelativePath(t *testing.T) {
	needRoot(t)
	tr := newTree(t)
	tr.dir("service", 0o755, service, service)
	tr.dir("service/below", 0o755, 0, 0)
	t.Chdir(tr.at("service/below"))
	for _, path := range []string{"file", "./file", "../below/file"} {
		err := Guarded(path)
		require.ErrorIs(t, err, ErrUnsafe)
		require.ErrorContains(t, err, "the directory "+tr.at("service")+" in the path belongs to user 12345")
		require.NoError(t, Guarded(path, service))
	}
}

func TestGuardedTrustsTheListedOwners(t *testing.T) {
	uid := os.Geteuid()
	if uid == 0 {
		t.Skip("root is trusted always")
	}
	tr := newTree(t)
	tr.dir("mine", 0o755, uid, os.Getegid())
	tr.dir("all", 0o777, uid, os.Getegid())
	require.NoError(t, Guarded(tr.at("mine/file"), uid))
	require.ErrorIs(t, Guarded(tr.at("mine/file")), ErrUnsafe)
	require.ErrorIs(t, Guarded(tr.at("all/file"), uid), ErrUnsafe)
}

func TestGuardedNeedsTheDirectoriesButNotTheFile(t *testing.T) {
	tr := newTree(t)
	tr.dir("dir", 0o755, os.Geteuid(), os.Getegid())
	write(t, tr.at("dir/file"), "")
	tr.link("loop", "loop", os.Geteuid())
	tr.link("dangling", "missing", os.Geteuid())
	uid := os.Geteuid()
	require.NoError(t, Guarded(tr.at("dir/file"), uid))
	require.NoError(t, Guarded(tr.at("dir/missing"), uid))
	require.ErrorIs(t, Guarded(tr.at("missing/file"), uid), fs.ErrNotExist)
	require.ErrorIs(t, Guarded(tr.at("dangling/file"), uid), fs.ErrNotExist)
	require.ErrorIs(t, Guarded(tr.at("dir/file/file"), uid), syscall.ENOTDIR)
	require.ErrorIs(t, Guarded(tr.at("loop/file"), uid), syscall.ELOOP)
}

func requireGuarded(t *testing.T, tr tree, path string, owners []int, why string) {
	t.Helper()
	err := Guarded(tr.at(path), owners...)
	if why == "" {
		require.NoError(t, err, path)
		return
	}
	require.ErrorIs(t, err, ErrUnsafe, "%s %v", path, owners)
	require.EqualError(t, err, "open "+tr.at(path)+": "+strings.Replace(why, "%s", tr.root, 1))
}

func TestAUserIDIsMappedIfARangeContainsIt(t *testing.T) {
	const whole, rootless, own = "         0          0 4294967295\n", "0 1000 1\n1 100000 65535\n", "         0       1000          1\n"
	for _, c := range []struct {
		ids  string
		uid  int
		want bool
	}{
		{whole, 65534, true},
		{rootless, 65534, true},
		{rootless, 65536, false},
		{own, 0, true},
		{own, 65534, false},
		{"", 0, false},
		{"nonsense\n", 0, false},
	} {
		require.Equal(t, c.want, maps(c.ids, c.uid), "%q, %d", c.ids, c.uid)
	}
}
