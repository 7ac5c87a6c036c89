package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// refusesData is the text of the error for a file with other data than a PID.
const refusesData = ": it contains other data than a PID, so it was left untouched: correct the path, or remove the file\n"

// For example, the paths of the PID file and of a configuration were swapped. One of the files
// contains digits in which a lenient parser would find the PID of a bystander process.
// Row C5.
func TestNoVerbChangesAPIDFileWithOtherData(t *testing.T) {
	t.Parallel()
	bystander, _ := startDaemon(t)
	for _, text := range []string{"listen = :8080\n", fmt.Sprintf("%d\n%d\n", bystander.PID(), bystander.PID())} {
		path := proctest.PIDFileWith(t, text)
		requireUntouched := proctest.Untouched(t, path)
		refusal := func(verb string) proctest.Result {
			return proctest.Result{Stderr: "daemon: " + verb + ": unsafe PID file " + path + refusesData, Code: 1}
		}
		want := map[string]proctest.Result{
			"status": {Stdout: "daemon: unknown: unsafe PID file " + path + refusesData, Code: 4},
			"start":  refusal("start failed"), "force-reload": refusal("reload"),
		}
		for _, verb := range []string{"stop", "restart", "try-restart", "reload", "reopen"} {
			want[verb] = refusal(verb)
		}
		each(t, want, path)
		requireRefused(t, 1, "start failed: unsafe PID file "+path+refusesData, path)
		_, err := lifecycle.Find(path)
		require.ErrorIs(t, err, lifecycle.ErrUnsafePIDFile)
		require.NotErrorIs(t, err, lifecycle.ErrNotRunning)
		_, err = lifecycle.Ensure(t.Context(), lifecycle.PIDFile(path))
		require.ErrorIs(t, err, lifecycle.ErrUnsafePIDFile)
		requireUntouched()
		require.NoFileExists(t, proctest.StatePath(path))
	}
	requireLives(t, bystander)
}

// For example, the program saves data at the path of its PID file.
func TestDataInThePIDFileOfADaemonSurvivesItsEnd(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	const data = "listen = :8080\n"
	require.NoError(t, os.WriteFile(path, []byte(data), 0o644))
	require.Equal(t, 0, callVerb(t, path, "stop").Code)
	require.Equal(t, 0, p.Wait())
	p.Await(`msg="cannot remove or empty the PID file" err="another program wrote its data into it, so it was left untouched"`)
	proctest.RequireText(t, path, data)
	require.NoFileExists(t, proctest.StatePath(path))
	require.Equal(t, 1, callVerb(t, path, "start").Code)
	proctest.RequireText(t, path, data)
}
