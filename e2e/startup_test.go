package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
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
//	changer serve [supervise] verb
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
	elsewhere, err := os.Create("elsewhere-" + verb)
	if err == nil {
		err = errors.Join(os.Chdir("below"), os.Setenv("ADDED", "yes"), os.Unsetenv("REMOVED"))
	}
	if err != nil {
		fmt.Println(err)
		return 65
	}
	stdout := os.Stdout
	os.Stdin, os.Stdout, os.Stderr = nil, elsewhere, elsewhere
	opts := []lifecycle.Option{
		lifecycle.PIDFile("changer.pid"), lifecycle.LogFile("changer.log"),
		lifecycle.OnStart(func(context.Context) error {
			added := os.Getenv("ADDED")
			_, removed := os.LookupEnv("REMOVED")
			_, err := fmt.Fprintln(stdout, "main began in", began, "added", added, "removed", !removed)
			return err
		}),
	}
	if args[1] == "supervise" {
		opts = append(opts, lifecycle.Supervise(lifecycle.RestartPolicy{}))
	}
	return lifecycle.Main([]string{verb}, nil, opts...)
})

func TestADaemonIsStartedWithWhatItsLauncherWasStartedWith(t *testing.T) {
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

// files returns the names and the contents of the files in a directory.
func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		text, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		all = append(all, e.Name()+": "+string(text))
	}
	return all
}
