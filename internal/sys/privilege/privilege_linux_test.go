package privilege

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const status = `Name:	x
Uid:	7	7	7	7
Gid:	8	8	8	8
FDSize:	64
Groups:	8 9 10 
CapInh:	00000000a80425fb
CapPrm:	0000000000000000
CapEff:	0000000000000000
`

func TestCheckComparesEveryIDOfAThread(t *testing.T) {
	t.Parallel()
	id := Identity{UID: 7, GID: 8, Groups: []int{10, 9, 8, 9}}
	require.NoError(t, id.compare(status))
	for _, change := range []struct{ old, new, says string }{
		{"Uid:\t7", "Uid:\t0", "Uid is [0 7 7 7] instead of [7 7 7 7]"},
		{"7\t7\n", "7\t0\n", "Uid is [7 7 7 0]"},
		{"7\t7\t7\n", "7\t0\t7\n", "Uid is [7 7 0 7]"},
		{"8\t8\n", "8\t0\n", "Gid is [8 8 8 0]"},
		{"8 9 10", "8 9", "Groups is [8 9] instead of [10 9 8 9]"},
		{"8 9 10", "0 8 9 10", "Groups is [0 8 9 10]"},
		{"8 9 10", "", "Groups is []"},
		{"CapPrm:\t0", "CapPrm:\t1", "CapPrm is 1000000000000000: capabilities(7) were kept"},
		{"CapEff:\t000000000000000", "CapEff:\t000000000000004", "CapEff is 0000000000000040"},
		{"Uid:", "Xid:", "Uid is []"},
		{"Uid:\t7", "Uid:\tx", "invalid syntax"},
	} {
		require.Contains(t, status, change.old)
		require.ErrorContains(t, id.compare(strings.Replace(status, change.old, change.new, 1)), change.says)
	}
	require.Error(t, id.compare(""))
}

func TestCheckAcceptsTheThreadsOfThisProcess(t *testing.T) {
	t.Parallel()
	groups, err := os.Getgroups()
	require.NoError(t, err)
	check := func(id Identity) error {
		all := lookAtThreads()
		require.NotNil(t, all)
		defer all.close()
		return all.check(id)
	}
	id := Identity{UID: os.Getuid(), GID: os.Getgid(), Groups: groups}
	if id.UID != 0 { // root has the capability
		require.NoError(t, check(id))
	}
	id.UID++
	require.ErrorContains(t, check(id), "thread ")
	require.NoError(t, (*threads)(nil).check(id), "/proc is not mounted")

	nowhere, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer nowhere.Close()
	require.ErrorContains(t, (&threads{nowhere}).check(id), "no thread found")
}

func TestDropNamesAnOpenDirectory(t *testing.T) {
	require.NoError(t, noDirectories())
	path := t.TempDir()
	dir, err := os.Open(path)
	require.NoError(t, err)
	defer dir.Close()
	require.ErrorContains(t, noDirectories(), "is open on "+path+", ")
	require.ErrorContains(t, drop("/", nil), path, "before anything has changed")
}
