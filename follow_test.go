package lifecycle

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestADaemonThatCannotSayWhatItDoesIsNotFollowedForLong(t *testing.T) {
	t.Parallel()
	type follower struct {
		*errand
		p    *process
		path string
		what string // "" for Status, which follows nothing
	}
	var all []follower
	for _, spoil := range spoilings {
		p, path := startDaemon(t)
		spoil(t, statePath(path))
		found := mustFind(t, path)
		status := func(context.Context) error { _, err := found.Status(); return err }
		all = append(all,
			follower{goOff(t, status), p, path, ""},
			follower{goOff(t, found.Reload), p, path, "waiting for the verdict of its reload: "},
			follower{goOff(t, found.Reopen), p, path, "waiting for it to reopen its log: "},
			follower{goOff(t, found.WaitReady), p, path, "waiting for it to be ready: "})
	}
	last := all[len(all)-1]
	verb := start(t, daemon, "pidfile="+last.path, "reload")
	for _, f := range all {
		err := f.wait()
		want := "lifecycle: state file " + statePath(f.path) + ": "
		if f.what != "" {
			want = fmt.Sprintf("lifecycle: pid %d: %s", f.p.pid(), f.what) + want
		}
		require.ErrorContains(t, err, want)
		require.NotErrorIs(t, err, ErrNotRunning)
		require.NotErrorIs(t, err, ErrReload)
		f.p.await("msg=reloaded")
		f.p.await("nothing to reopen")
	}
	require.Equal(t, 1, verb.wait())
	require.Contains(t, verb.out.String(), "daemon: reload: no verdict: state file "+statePath(last.path)+": ")
}
