package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// servant is a daemon that becomes somebody else, and says in each hook who it is and what it may do.
//
//	servant key=value … verb
//
// The keys are pidfile, log, user, chroot, workdir as of daemon, key for a file that OnStart reads, and leave for a directory that it leaves open.
var servant = registerProgram("servant", func(args []string) int {
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
	opts := []Option{
		Name("servant"), PIDFile(is["pidfile"]), LogFile(is["log"]), WorkDir(is["workdir"]), User(is["user"]), Chroot(is["chroot"]),
		Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		OnStart(func(ctx context.Context) error {
			for range 8 { // threads that no goroutine shares
				go func() { runtime.LockOSThread(); select {} }()
			}
			if is["leave"] != "" {
				if _, err := unix.Open(is["leave"], unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
					return err
				}
			}
			return say("OnStart")(ctx)
		}),
		OnReload(say("OnReload")),
		OnStop(say("OnStop")),
		OnExit(say("OnExit")),
		Every(1, func(context.Context) error { return nil }),
	}
	return Main(args[len(args)-1:], func(ctx context.Context) error {
		_ = say("fn")(ctx)
		<-ctx.Done()
		return nil
	}, opts...)
})

// whoAmI asks the kernel about this thread, and tries to be root again.
func whoAmI() string {
	groups, _ := os.Getgroups()
	slices.Sort(groups)
	r, e, s := unix.Getresuid()
	rg, eg, sg := unix.Getresgid()
	return fmt.Sprint([]int{r, e, s}, [3]int{rg, eg, sg}, groups, " and can be root: ", e == 0 || syscall.Setuid(0) == nil)
}

func (b *background) callServant(args ...string) result {
	b.t.Helper()
	return callProgram(b.t, servant, b.args(args...)...)
}

// stopServant stops it, with the right to remove what it may not.
func (b *background) stopServant(args ...string) {
	b.t.Helper()
	got := b.callServant(append(args, "stop")...)
	require.Equal(b.t, 0, got.code, "%s", got.stderr)
	require.Equal(b.t, 3, b.callServant(append(args, "status")...).code)
	b.requireNothingLeft()
}

func requireOwner(t *testing.T, path string, uid int) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, uid, info.Sys().(*syscall.Stat_t).Uid, "the owner of %s", path)
}

func TestALogFileThatIsMadeBelongsToTheUser(t *testing.T) {
	t.Parallel()
	needs(t, "root")
	b := inBackground(t)
	everybodyMayEnter(t, filepath.Dir(b.log))
	require.NoError(t, os.Chown(filepath.Dir(b.log), 54321, 54321))
	args := []string{"user=54321:54322"}
	pid := b.readied(b.callServant(append(args, "start")...))
	for range 2 {
		requireOwner(t, b.log, 54321)
		info, err := os.Stat(b.log)
		require.NoError(t, err)
		require.EqualValues(t, 54322, info.Sys().(*syscall.Stat_t).Gid)
		require.EqualValues(t, logMode, info.Mode().Perm())
		require.NoError(t, os.Rename(b.log, b.log+".1"))
		got := b.callServant("reopen")
		require.Equal(t, 0, got.code, "%s", got.stderr)
		require.Equal(t, b.log, logOpened(t, pid, 1))
	}
	require.NotContains(t, logText(t, b.log+".1"), "level=WARN")
	b.stopServant()
}

func everybodyMayEnter(t *testing.T, dir string) {
	t.Helper()
	for _, dir := range []string{dir, filepath.Dir(dir)} {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
}
