package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// servant is a daemon that changes its user. In each hook it reports its user and its rights.
//
//	servant key=value … verb
//
// The keys pidfile, log, user, chroot and workdir are the same as in the program daemon. key names
// a file that OnStart reads. leave names a directory that OnStart leaves open.
var servant = proctest.Register("servant", func(args []string) int {
	is := map[string]string{}
	for _, arg := range args[:len(args)-1] {
		key, value, _ := strings.Cut(arg, "=")
		is[key] = value
	}
	say := func(hook string) func(context.Context) error {
		return func(context.Context) error {
			_, err := os.ReadFile(is["key"])
			dir, dirErr := os.Getwd()
			fmt.Println(hook, "is", whoAmI(), "in", dir, "at home in", os.Getenv("HOME"), "and", errors.Join(err, dirErr))
			return nil
		}
	}
	opts := []lifecycle.Option{
		lifecycle.Name("servant"), lifecycle.PIDFile(is["pidfile"]), lifecycle.LogFile(is["log"]), lifecycle.WorkDir(is["workdir"]), lifecycle.User(is["user"]), lifecycle.Chroot(is["chroot"]),
		lifecycle.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		lifecycle.OnStart(func(ctx context.Context) error {
			for range 8 { // threads that are locked to other goroutines
				go func() { runtime.LockOSThread(); select {} }()
			}
			if is["leave"] != "" {
				if _, err := unix.Open(is["leave"], unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
					return err
				}
			}
			return say("OnStart")(ctx)
		}),
		lifecycle.OnReload(say("OnReload")),
		lifecycle.OnStop(say("OnStop")),
		lifecycle.OnExit(say("OnExit")),
		lifecycle.Every(1, func(context.Context) error { return nil }),
	}
	return lifecycle.Main(args[len(args)-1:], func(ctx context.Context) error {
		_ = say("fn")(ctx)
		<-ctx.Done()
		return nil
	}, opts...)
})

// whoAmI returns the user and the rights of this thread from the kernel. It also tries to become
// root again.
func whoAmI() string {
	groups, _ := os.Getgroups()
	slices.Sort(groups)
	r, e, s := unix.Getresuid()
	rg, eg, sg := unix.Getresgid()
	return fmt.Sprint([]int{r, e, s}, [3]int{rg, eg, sg}, groups, " and can be root: ", e == 0 || syscall.Setuid(0) == nil)
}

func (b *background) callServant(args ...string) proctest.Result {
	b.t.Helper()
	return proctest.Call(b.t, servant, b.args(args...)...)
}

// stopServant runs the verb stop as a user who may remove the files of the daemon.
func (b *background) stopServant(args ...string) {
	b.t.Helper()
	got := b.callServant(append(args, "stop")...)
	require.Equal(b.t, 0, got.Code, "%s", got.Stderr)
	require.Equal(b.t, 3, b.callServant(append(args, "status")...).Code)
	b.requireNothingLeft()
}

// threadsOf returns a field from the kernel for every thread of a process.
func threadsOf(t *testing.T, pid int, field string) []string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	require.NoError(t, err)
	require.Greater(t, len(tasks), 8)
	var values []string
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		_, value, _ := strings.Cut(string(text), "\n"+field+":")
		value, _, _ = strings.Cut(value, "\n")
		values = append(values, strings.Join(strings.Fields(value), " "))
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// rootsKey returns a file that only root can read.
func rootsKey(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	return path
}

// Row L6.
func TestEveryThreadChangesItsUserAfterOnStart(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	mail := lookUp(t, "mail")
	users := map[string]struct{ uid, gid, groups, home string }{
		"54321:54322":  {"54321", "54322", "54322", os.Getenv("HOME")},
		"mail":         {mail.uid, mail.gid, mail.groups, mail.home},
		"mail:daemon":  {mail.uid, "1", "1", mail.home},
		mail.uid:       {mail.uid, mail.gid, mail.groups, mail.home},
		"mail:54322":   {mail.uid, "54322", "54322", mail.home},
		"54321:daemon": {"54321", "1", "1", os.Getenv("HOME")},
	}
	for _, user := range proctest.Few(2, slices.Sorted(maps.Keys(users))) {
		want := users[user]
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			args := []string{"user=" + user, "key=" + rootsKey(t)}
			got := b.callServant(append(args, "start")...)
			pid := b.readied(got)
			for range 2 {
				four := func(id string) []string { return []string{strings.TrimSpace(strings.Repeat(id+" ", 4))} }
				require.Equal(t, four(want.uid), threadsOf(t, pid, "Uid"))
				require.Equal(t, four(want.gid), threadsOf(t, pid, "Gid"))
				require.Equal(t, []string{want.groups}, threadsOf(t, pid, "Groups"))
				for _, set := range []string{"CapPrm", "CapEff", "CapAmb"} {
					require.Equal(t, []string{"0000000000000000"}, threadsOf(t, pid, set))
				}
				require.Equal(t, 0, b.callServant(append(args, "reload")...).Code)
			}
			b.stopServant(args...)
			is := fmt.Sprintf("[%[1]s %[1]s %[1]s] [%[2]s %[2]s %[2]s] [%[3]s] and can be root: false in / at home in %[4]s and open ", want.uid, want.gid, want.groups, want.home)
			require.Regexp(t, `(?m)^OnStart is \[0 0 0\].* can be root: true in / at home in .* and <nil>$`, b.said())
			for _, hook := range []string{"fn", "OnReload", "OnStop", "OnExit"} {
				require.Contains(t, b.said(), hook+" is "+is)
			}
		})
	}
}

// lookUp returns the data of a user without this library.
func lookUp(t *testing.T, name string) (found struct{ uid, gid, groups, home string }) {
	t.Helper()
	passwd, err := os.ReadFile("/etc/passwd")
	require.NoError(t, err)
	for line := range strings.Lines(string(passwd)) {
		if fields := strings.Split(line, ":"); fields[0] == name {
			found.uid, found.gid, found.groups, found.home = fields[2], fields[3], fields[3], fields[5]
			return found
		}
	}
	t.Skipf("this test needs the user %s, who is not here", name)
	return found
}

func TestAUserThatCannotBeSetFailsTheStartBeforeTheFirstHook(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	if os.Geteuid() == 0 {
		proctest.Use(servant)
		for user, says := range map[string]string{
			"no-such-user":           `User("no-such-user"): user "no-such-user": not in the user database`,
			"54321":                  `User("54321"): user "54321": not in the user database; set its group too, as UID:GID`,
			"root:no-such":           `User("root:no-such"): group "no-such": not in the user database`,
			"4294967295:1":           `User("4294967295:1"): user "4294967295": not in the user database`,
			"1:18446744073709551616": `User("1:18446744073709551616"): group "18446744073709551616": not in the user database`,
		} {
			for _, verb := range []string{"start", "run", "restart"} {
				got := b.callServant("user="+user, verb)
				require.Equal(t, 1, got.Code, "%s", got.Stderr)
				requireLogged(t, got.Stderr, says)
			}
		}
	} else {
		for _, verb := range []string{"start", "run", "restart"} {
			got := b.callServant("user=0:0", verb)
			require.Equal(t, 4, got.Code, "%s", got.Stderr)
			requireLogged(t, got.Stderr, fmt.Sprintf(`User("0:0"): only root can become user 0; this process is user %d`, os.Geteuid()))
			got = b.callServant("chroot=/", verb)
			require.Equal(t, 4, got.Code, "%s", got.Stderr)
			requireLogged(t, got.Stderr, fmt.Sprintf(`Chroot("/"): only root can change the root directory; this process is user %d`, os.Geteuid()))
		}
		self := fmt.Sprintf("user=%d:%d", os.Geteuid(), os.Getegid())
		b.readied(b.callServant(self, "start")) // the process already runs as that user
		b.stopServant(self)
		require.Contains(t, b.said(), "OnExit is")
		require.NoError(t, os.Remove(b.log))
	}
	for chroot, says := range map[string]string{"/no/such/place": "no such file or directory", "/dev/null": "not a directory"} {
		got := b.callServant("chroot="+chroot, "start")
		require.Equal(t, 1, got.Code)
		require.Contains(t, got.Stderr, fmt.Sprintf("Chroot(%q): ", chroot))
		require.Contains(t, got.Stderr, says)
	}
	for _, user := range []string{":", "a:", ":b", "a:b:c", "a\nb"} {
		got := b.callServant("user="+user, "status")
		require.Equal(t, 1, got.Code)
		require.Contains(t, got.Stderr, fmt.Sprintf(`User(%q): must be "user" or "user:group"`, user))
	}
	require.NotContains(t, b.said(), "OnStart")
}

// A restart that cannot start the new daemon does not stop the old one.
func TestARestartWithAnUnknownUserKeepsTheDaemon(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b := inBackground(t)
	pid := b.readied(b.callServant("user=54321:54321", "start"))
	got := b.callServant("user=no-such-user", "restart")
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "no-such-user")
	require.Equal(t, []int{pid}, b.processes())
	b.stopServant()
}

// Securebits can keep what setuid(2) removes (capabilities(7)).
// Row L6.
func TestAStartFailsIfTheProcessCouldBecomeRootAgain(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, "setpriv", "--securebits", "+no_setuid_fixup")
	b := inBackground(t)
	got := proctest.CallCommand(t, proctest.Wrapped([]string{"setpriv", "--securebits", "+no_setuid_fixup"}, servant, b.args("user=54321:54321", "start")...))
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "start failed: cannot run as user 54321:54321 (54321:54321): privileges were kept: thread ")
	require.Contains(t, got.Stderr, "capabilities(7) were kept")
	require.Contains(t, b.said(), "OnExit is", "the start is undone")
	b.requireNothingLeft()

	// Run tries to become root again, because it cannot check the threads without /proc.
	proctest.NeedsCommand(t, "unshare", "--mount")
	got = proctest.CallCommand(t, proctest.Wrapped([]string{"unshare", "--mount", "sh", "-c", `umount -l /proc && exec setpriv --securebits +no_setuid_fixup "$@"`, "sh"},
		servant, b.args("user=54321:54321", "run")...))
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "privileges were kept: user 54321 could become root again")
	b.requireNothingLeft()
}

// In a user namespace with only one user, a process cannot become another user
// (user_namespaces(7)).
// Row J8.
func TestAUserThatIsNotMappedFailsTheStart(t *testing.T) {
	t.Parallel()
	proctest.NeedsCommand(t, "unshare", "--user", "--map-root-user")
	b := inBackground(t)
	for at, says := range map[*background]string{
		b:           "log file " + b.log + ": cannot change its owner to user 54321: chown: invalid argument",
		b.quietly(): "cannot run as user 54321:54321 (54321:54321): setgroups: operation not permitted (the user namespace might not permit it; see user_namespaces(7))",
	} {
		got := proctest.CallCommand(t, proctest.Wrapped([]string{"unshare", "--user", "--map-root-user"}, servant, at.args("user=54321:54321", "start")...))
		require.NotZero(t, got.Code)
		require.Contains(t, got.Stderr, says)
		require.NoFileExists(t, b.log)
		b.requireNothingLeft()
	}
}
