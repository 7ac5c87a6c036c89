package supervise

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/proc"
)

// at returns a process that started that many seconds after the boot.
func at(second, pid, parent, group, session int) proc.Process {
	began := time.Duration(second) * time.Second
	return proc.Process{PID: pid, Parent: parent, Group: group, Session: session, Began: began, ID: "boot/" + began.String()}
}

// The worker 100 led the group 100 in the session 90, and was known until second 50.
func TestFindReturnsTheProcessesOfAnEarlierWorker(t *testing.T) {
	t.Parallel()
	worker, child, late := at(10, 100, 1, 100, 90), at(20, 101, 100, 100, 90), at(60, 102, 1, 100, 90)
	zombie := worker
	zombie.Ended = true
	escaped, grandchild := at(61, 103, 100, 103, 103), at(62, 104, 103, 103, 103)
	job, stranger := at(30, 105, 1, 105, 90), at(70, 100, 1, 100, 100)
	others := []proc.Process{at(1, 1, 0, 1, 1), at(15, 7, 1, 7, 7), at(80, 8, 7, 8, 7)}
	for what, tt := range map[string]struct {
		all                []proc.Process
		session            int
		groupOnly          bool
		inherits           []int // PIDs of the processes that have inherited a property
		certain, uncertain []int
	}{
		"no process is left":                     {},
		"the worker, and what it has started":    {all: []proc.Process{worker, child, late, escaped, grandchild}, certain: []int{100, 101, 102, 103, 104}},
		"only its group is asked for":            {all: []proc.Process{worker, child, escaped}, groupOnly: true, certain: []int{100, 101}},
		"the worker is a zombie":                 {all: []proc.Process{zombie, late}, certain: []int{102}},
		"one old member proves the group":        {all: []proc.Process{child, late}, certain: []int{101, 102}},
		"only a later member":                    {all: []proc.Process{late}, uncertain: []int{102}},
		"another process has the number":         {all: []proc.Process{stranger, at(71, 106, 100, 100, 100)}},
		"another process, and a child elsewhere": {all: []proc.Process{stranger, at(71, 106, 100, 106, 100)}},
		"it left the group, not the session":     {all: []proc.Process{job, at(63, 107, 1, 107, 90)}, session: 90, certain: []int{105, 107}},
		"the session is not this daemon's":       {all: []proc.Process{job}},
		"only a later member of the session":     {all: []proc.Process{at(63, 107, 1, 107, 90)}, session: 90, uncertain: []int{107}},
		"the session only, for a group":          {all: []proc.Process{job}, session: 90, groupOnly: true},
		"only later members, one has inherited":  {all: []proc.Process{late, at(63, 109, 1, 100, 90)}, inherits: []int{109}, certain: []int{102, 109}},
		"it has inherited, elsewhere":            {all: []proc.Process{at(64, 110, 1, 110, 7), at(65, 111, 110, 111, 7)}, inherits: []int{110}, certain: []int{110, 111}},
		"inherited, elsewhere, for a group":      {all: []proc.Process{at(64, 110, 1, 110, 7)}, groupOnly: true, inherits: []int{110}},
		"inherited, only in the session":         {all: []proc.Process{at(63, 107, 1, 107, 90), at(66, 112, 1, 112, 90)}, session: 90, inherits: []int{112}, certain: []int{107, 112}},
		"a parent that is younger":               {all: []proc.Process{child, at(5, 108, 101, 108, 7)}, certain: []int{101}},
	} {
		m := mark{PID: 100, Session: tt.session, Namespace: "ns", ID: worker.ID, Keep: tt.groupOnly}
		all := slices.Concat(tt.all, others)
		inherits := func(p proc.Process) bool { return slices.Contains(tt.inherits, p.PID) }
		f := m.find(all, "ns", ownedAt{50 * time.Second, 50 * time.Second}, look{inherits: inherits})
		require.Equal(t, tt.certain, pids(f.certain), what)
		require.Equal(t, tt.uncertain, pids(f.uncertain), what)
		require.Zero(t, m.find(all, "another", ownedAt{}, look{}), what)
	}
}

func pids(all []proc.Process) (numbers []int) {
	for _, p := range all {
		numbers = append(numbers, p.PID)
	}
	return numbers
}

// The first find sees a member that proves the group. That member has ended before the second find.
func TestAGroupStaysProvenAfterTheMemberHasEnded(t *testing.T) {
	t.Parallel()
	m := mark{PID: 100, Namespace: "ns", ID: "ended"}
	late := []proc.Process{at(60, 102, 1, 100, 90)}
	require.Equal(t, late, m.find(late, "ns", ownedAt{group: 50 * time.Second}, look{}).uncertain)
	require.Equal(t, late, m.find(late, "ns", ownedAt{group: 70 * time.Second}, look{}).certain)
	require.Equal(t, late, m.find(late, "ns", ownedAt{}, look{known: func(proc.Process) bool { return true }}).certain)
}

// A process of the earlier worker may call the start. The start does not end that process.
func TestAStartDoesNotEndItsCaller(t *testing.T) {
	t.Parallel()
	self := at(70, os.Getpid(), 101, 100, 90)
	m := mark{PID: 100, Namespace: "ns", ID: "ended"}
	f := m.find([]proc.Process{at(20, 101, 1, 100, 90), self}, "ns", ownedAt{group: 50 * time.Second}, look{})
	require.Empty(t, f.certain)
	require.Equal(t, []int{101}, pids(f.uncertain))
}

func TestTheRecordOfAWorkerShowsWhenItLastExisted(t *testing.T) {
	t.Parallel()
	s, p, _ := newProcess(t)
	s.setMark(p, Marked{PID: p.PID, Mark: "its mark", Image: "its image"})
	first, ok := s.Known("its mark")
	require.True(t, ok)
	require.NotZero(t, first.At)
	require.Equal(t, "its image", first.Image, "an ended worker has no image")
	again, ok := s.Known("its mark")
	require.True(t, ok)
	require.Greater(t, again.At, first.At)
	_, ok = s.Known("another mark")
	require.False(t, ok)
	_, ok = (*Supervisor)(nil).Known("its mark")
	require.False(t, ok)
}

func TestAMarkOfAnyValuesIsParsedUnchanged(t *testing.T) {
	t.Parallel()
	m := mark{
		PID: 100, Session: 90, Namespace: "pid:[1]/boot/5", ID: "boot/7", Invocation: digest("X"),
		StopSignal: syscall.SIGINT, StopTimeout: time.Second, ThisBinary: true, Keep: true,
	}
	again, ok := parseMark(m.text())
	require.True(t, ok)
	require.Equal(t, m, again)
	for _, text := range []string{"", "100", "100 90 ns id", strings.Replace(m.text(), "100", "1", 1), strings.TrimSuffix(m.text(), " true")} {
		_, ok := parseMark(text)
		require.False(t, ok, text)
	}
}

// If a process cannot see process 1, its proc.Namespace is less precise.
func TestTheNamespaceOfAMarkMayBeLessPrecise(t *testing.T) {
	t.Parallel()
	const precise, plain = "pid:[1]/boot/5", "pid:[1]/boot"
	require.True(t, mark{Namespace: precise}.isIn(precise))
	require.True(t, mark{Namespace: precise}.isIn(plain))
	require.True(t, mark{Namespace: plain}.isIn(precise))
	for _, other := range []string{"", "pid:[1]/boot/55", "pid:[2]/boot/5", "pid:[1]/boo"} {
		require.False(t, mark{Namespace: precise}.isIn(other), other)
	}
}
