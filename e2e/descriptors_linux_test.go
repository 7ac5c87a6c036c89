package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// starter is a life whose OnStart starts a program that lists its descriptors.
//
//	starter pidfile policy
var starter = proctest.Register("starter", func(args []string) int {
	opts := []lifecycle.Option{lifecycle.PIDFile(args[0]), lifecycle.OnStart(func(context.Context) error {
		_, err := unix.FcntlInt(3, unix.F_GETFD, 0)
		fmt.Println("descriptor 3 of the life:", err)
		out, err := exec.Command("ls", "/proc/self/fd").CombinedOutput()
		fmt.Printf("the program has %q, %v\n", strings.Fields(string(out)), err)
		return err
	})}
	if args[1] != "" {
		opts = append(opts, lifecycle.Supervise(parsePolicy(args[1])))
	}
	return lifecycle.ExitCode(lifecycle.Run(nil, opts...))
})

// withDescriptors adds the inheritable descriptors 3 to 6 to the command.
func withDescriptors(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	cmd.ExtraFiles = []*os.File{r, w, r, w}
	return cmd
}

// ls itself opens the directory as descriptor 3.
func TestAProgramOfAForegroundLifeInheritsOnlyTheStandardDescriptors(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"", "foreground"} {
		p := proctest.Launch(t, withDescriptors(t, proctest.Command(starter, proctest.PIDPath(t), policy)))
		p.Await(`the program has ["0" "1" "2" "3"], <nil>`)
		if policy == "" {
			p.Await("descriptor 3 of the life: <nil>") // the life keeps it: it may be intended
		}
		p.Signal(unix.SIGTERM)
		require.Equal(t, 0, p.Wait(), "%s", p.Out)
	}
}

func TestASupervisedProgramInForegroundInheritsOnlyTheStandardDescriptors(t *testing.T) {
	t.Parallel()
	cmd := proctest.Command(guard, "pidfile="+proctest.PIDPath(t), "run", "--", "sh", "-c", "ls -m /proc/self/fd; exec sleep 60")
	p := proctest.Launch(t, withDescriptors(t, cmd))
	p.Await("0, 1, 2, 3")
	require.NotContains(t, p.Out.String(), "3, 4")
	p.Signal(unix.SIGTERM)
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
}
