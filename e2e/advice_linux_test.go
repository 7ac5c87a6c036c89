package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/socket"
)

// sharedFolder mounts a file system that refuses chmod and chown, as shared folders do, and returns
// its path. All files on it belong to service and have mode 0664.
func sharedFolder(t *testing.T) (dir string) {
	t.Helper()
	proctest.Needs(t, "root", "bindfs", "umount", "setpriv")
	back, dir := openFolder(t), openFolder(t)
	user := fmt.Sprint(service)
	cmd := exec.Command("bindfs", "-f", "--chmod-deny", "--chown-deny", "-p", "ug=rwX,o=rX", "-u", user, "-g", user, "-o", "allow_other", back, dir)
	p := proctest.Launch(t, cmd)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	mounted := func() bool {
		info, err := os.Stat(dir)
		return err == nil && info.Sys().(*syscall.Stat_t).Uid == service
	}
	proctest.Eventually(t, func() bool {
		select {
		case <-p.Done:
			return true
		default:
			return mounted()
		}
	}, "the mount")
	if !mounted() {
		t.Skip("bindfs cannot mount here:", p.Out)
	}
	return dir
}

// openFolder returns an empty folder that other users can reach.
func openFolder(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)))
	return dir
}

// asService runs the program daemon as the user service.
func asService(t *testing.T, args ...string) proctest.Result {
	t.Helper()
	user := fmt.Sprint(service)
	cmd := proctest.Wrapped([]string{"setpriv", "--reuid=" + user, "--regid=" + user, "--clear-groups"}, daemon, args...)
	cmd.Args[slices.Index(cmd.Args, proctest.Binary())] = everybodysBinary(t)
	return proctest.CallCommand(t, cmd)
}

func TestAWarningReportsThatTheModeOfTheLogCannotBeSet(t *testing.T) {
	t.Parallel()
	shared, own := sharedFolder(t), openFolder(t)
	require.NoError(t, os.Chown(own, service, service))
	pidfile, log := filepath.Join(own, "x.pid"), filepath.Join(shared, "x.log")
	const warning = `level=WARN msg="cannot set the mode of the log, so other users may read it" log=%s mode=-rw-rw-r-- wanted=-rw-r----- err="chmod: operation not permitted"`
	for _, times := range []int{1, 0} { // the second start finds an existing file
		got := asService(t, "pidfile="+pidfile, "log="+log, "start")
		require.Equal(t, 0, got.Code, got.Stderr)
		require.Equal(t, times, strings.Count(got.Stderr, fmt.Sprintf(warning, log)), got.Stderr)
		require.NoError(t, os.Remove(log))
		require.Equal(t, 0, asService(t, "pidfile="+pidfile, "reopen").Code)
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		require.NotContains(t, string(text), "cannot reopen")
		require.Equal(t, 0, asService(t, "pidfile="+pidfile, "stop").Code)
	}
}

func TestAPIDFileIsRefusedOnASharedFolderThatMakesItWritableForTheGroup(t *testing.T) {
	t.Parallel()
	pidfile := filepath.Join(sharedFolder(t), "x.pid")
	got := asService(t, "pidfile="+pidfile, "start")
	require.Contains(t, got.Stderr, "PID file "+pidfile+": chmod: operation not permitted (the file system does not let this process change modes)", "the group of the file could write it")
	require.NoFileExists(t, pidfile)
}

func TestAdviceFitsTheOperationThatFailed(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root", "setpriv")
	dir := openFolder(t)
	pidfile, log := filepath.Join(dir, "x.pid"), filepath.Join(dir, "x.log")
	user := fmt.Sprintf("user=%d:%d", service, service)
	for without, want := range map[string]string{
		"chown":  "log file " + log + ": cannot change its owner to user 12345: chown: operation not permitted (root needs the capability CAP_CHOWN and a file system that keeps owners)",
		"setgid": "cannot run as user 12345:12345 (12345:12345): setgroups: operation not permitted (root needs the capability CAP_SETGID)",
		"setuid": "cannot run as user 12345:12345 (12345:12345): setuid: operation not permitted (root needs the capability CAP_SETUID)",
	} {
		got := proctest.CallCommand(t, proctest.Wrapped([]string{"setpriv", "--bounding-set=-" + without, "--inh-caps=-" + without}, daemon, "pidfile="+pidfile, "log="+log, user, "start"))
		require.Equal(t, "daemon: start failed: "+want+"\n", withoutLog(got).Stderr)
		require.Equal(t, 4, got.Code)
		_ = os.Remove(log)
	}
	require.NoError(t, os.WriteFile(log, nil, 0o600))
	refused := asService(t, "pidfile="+pidfile, "log="+log, "start")
	require.Contains(t, refused.Stderr, fmt.Sprintf("PID file %s: open: permission denied (user %d must be able to write the directory %s)\n", pidfile, service, dir))
}

// binder listens, and prints the error.
//
//	binder NETWORK ADDRESS
var binder = proctest.Register("binder", func(args []string) int {
	_, err := socket.Listen(args[0], args[1])
	if args[0] == "udp" {
		_, err = socket.ListenPacket(args[0], args[1])
	}
	fmt.Println(err)
	return 0
})

func TestARefusedBindNamesTheMissingCapability(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root", "unshare", "setpriv")
	user := fmt.Sprint(service)
	as := []string{"setpriv", "--reuid=" + user, "--regid=" + user, "--clear-groups"}
	dir := openFolder(t)
	for address, want := range map[[2]string]string{
		{"unix", dir + "/s"}:     fmt.Sprintf("listen unix %s/s: bind: permission denied (user %d must be able to write the directory %s)\n", dir, service, dir),
		{"tcp", "127.0.0.1:700"}: "listen tcp 127.0.0.1:700: bind: permission denied (a port below 1024 needs root or the capability CAP_NET_BIND_SERVICE)\n",
		{"udp", "127.0.0.1:700"}: "listen udp 127.0.0.1:700: bind: permission denied (a port below 1024 needs root or the capability CAP_NET_BIND_SERVICE)\n",
	} {
		wrapper := as
		if address[0] != "unix" { // a network namespace resets ip_unprivileged_port_start
			wrapper = append([]string{"unshare", "--net"}, as...)
			proctest.NeedsCommand(t, wrapper...)
		}
		got := proctest.CallCommand(t, proctest.Wrapped(wrapper, binder, address[0], address[1]))
		require.Equal(t, want, got.Stdout)
	}
}
