package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// changer changes the globals of its process before it calls Main, as programs do. Its PID file and
// its log have relative paths, and it changes to a directory by a relative path.
//
// With close, it closes the standard files instead of assigning others.
//
//	changer serve [supervise] [close] verb
var changer = proctest.Register("changer", func(args []string) int {
	began, err := os.Getwd()
	if err != nil || len(args) == 0 || args[0] != "serve" {
		fmt.Println("called with", args, "in", began, err)
		return 64
	}
	os.Args = append(os.Args[:1], os.Args[2:]...)
	os.Args[0] = "renamed"
	flag.CommandLine = flag.NewFlagSet("changer", flag.ContinueOnError)
	verb := args[len(args)-1]
	elsewhere, err := os.OpenFile("elsewhere-"+verb, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err == nil {
		err = errors.Join(os.Chdir("below"), os.Setenv("ADDED", "yes"), os.Unsetenv("REMOVED"))
	}
	if err != nil {
		fmt.Println(err)
		return 65
	}
	report := os.Stdout
	if slices.Contains(args, "close") {
		err = errors.Join(os.Stdin.Close(), os.Stdout.Close(), os.Stderr.Close())
		report = elsewhere
	}
	os.Stdin, os.Stdout, os.Stderr = nil, elsewhere, elsewhere
	opts := []lifecycle.Option{
		lifecycle.PIDFile("changer.pid"), lifecycle.LogFile("changer.log"),
		lifecycle.OnStart(func(context.Context) error {
			added := os.Getenv("ADDED")
			_, removed := os.LookupEnv("REMOVED")
			_, printErr := fmt.Fprintln(report, "main began in", began, "added", added, "removed", !removed)
			for fd := range 3 {
				fmt.Fprintln(report, "descriptor", fd, ownDescriptor(fd))
			}
			return errors.Join(err, printErr)
		}),
	}
	if slices.Contains(args, "supervise") {
		opts = append(opts, lifecycle.Supervise(lifecycle.RestartPolicy{}))
	}
	return lifecycle.Main([]string{verb}, nil, opts...)
})

func TestADaemonHasTheArgumentsAndDirectoryOfItsLauncher(t *testing.T) {
	t.Parallel()
	for _, supervised := range []string{"", "supervise"} {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "below"), 0o755))
		call := func(verb string) int {
			cmd := proctest.Command(changer, strings.Fields("serve "+supervised+" "+verb)...)
			cmd.Dir = dir
			cmd.Env = append(cmd.Env, "REMOVED=no")
			return proctest.CallCommand(t, cmd).Code
		}
		require.Equal(t, 0, call("start"), "%s", files(t, dir))
		t.Cleanup(func() {
			if h := mustLook(t, filepath.Join(dir, "changer.pid")); h.PID > 0 {
				_ = syscall.Kill(h.PID, syscall.SIGKILL)
			}
		})
		said, err := os.ReadFile(filepath.Join(dir, "elsewhere-start"))
		require.NoError(t, err)
		require.Regexp(t, `^changer: ready \(pid \d+, .* log `+filepath.Join(dir, "changer.log")+`\n`, string(said), "the program's own stderr")
		logged, err := os.ReadFile(filepath.Join(dir, "changer.log"))
		require.NoError(t, err)
		require.Contains(t, string(logged), "main began in "+dir+" added yes removed true\n")
		require.Equal(t, 0, call("stop"))
		require.Empty(t, files(t, filepath.Join(dir, "below")))
		require.NoFileExists(t, filepath.Join(dir, "changer.pid"))
	}
}

// A program may close its standard files. No other file of the daemon may then get one of their
// descriptors.
func TestNoFileOfADaemonGetsTheDescriptorOfAClosedStandardFile(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"close", "supervise close"} {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "below"), 0o755))
		call := func(verb string) int {
			cmd := proctest.Command(changer, strings.Fields("serve "+how+" "+verb)...)
			cmd.Dir = dir
			return proctest.CallCommand(t, cmd).Code
		}
		require.Equal(t, 0, call("start"), "%s", files(t, dir))
		h := mustLook(t, filepath.Join(dir, "changer.pid"))
		t.Cleanup(func() { _ = syscall.Kill(h.PID, syscall.SIGKILL) })
		said, err := os.ReadFile(filepath.Join(dir, "elsewhere-run"))
		require.NoError(t, err)
		for fd := range 3 {
			require.Contains(t, string(said), fmt.Sprintf("descriptor %d /dev/null\n", fd), how)
		}
		require.Equal(t, 0, call("stop"))
	}
}
