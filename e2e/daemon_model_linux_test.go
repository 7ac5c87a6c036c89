package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// daemonModel is a model of several daemons and one PID file. It knows which daemon holds the file,
// which PID a dead daemon has left in the file, and which daemons run after their file was deleted.
// A walk applies random verbs and signals, one by one, to real detached daemons. It compares the
// daemons with the model after each step. model_test.go models the order of events during one life.
type daemonModel struct {
	*background
	random *rand.Rand
	story  []string

	holder  int   // 0 if there is none
	left    int   // PID that a dead daemon has left in the file; 0 if there is no file
	lost    []int // daemons whose file was deleted
	rejects bool  // the holder rejects reloads
	opened  int   // descriptors of the holder
	orphan  bool  // there may be a state file without a PID file
}

// If LIFECYCLE_SEED is set, the test repeats the walk with that seed.
func TestRandomVerbsAndSignalsOfManyDaemonsKeepToTheModel(t *testing.T) {
	t.Parallel()
	first, last := proctest.Seeds(t, 6, 500)
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			m := &daemonModel{background: inBackground(t), random: rand.New(rand.NewPCG(seed, 0))}
			endAll(t, m.pidfile)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("LIFECYCLE_SEED=%d:\n%s", seed, strings.Join(m.story, "\n"))
				}
			})
			for range 20 {
				m.step()
			}
			m.end()
		})
	}
}

func (m *daemonModel) step() {
	steps := []func(){
		m.startOne, m.startOne, m.startOne, m.startTwo, m.startInVain, m.stopOne, m.stopTwo, m.restartOne, m.restartOne, m.restartTwo,
		m.reload, m.reload, m.reopen, m.kill, m.kill, m.term, m.delete, m.endLost,
	}
	steps[m.random.IntN(len(steps))]()
	m.check()
}

// did logs a step and its result.
func (m *daemonModel) did(format string, args ...any) {
	m.story = append(m.story, fmt.Sprintf(format, args...))
}

// check compares the daemons with the model.
func (m *daemonModel) check() {
	m.t.Helper()
	want := append(slices.Clone(m.lost), m.holder)
	want = slices.DeleteFunc(want, func(pid int) bool { return pid == 0 })
	slices.Sort(want)
	proctest.Eventually(m.t, func() bool { // the process that started it may still be ending
		found := m.processes()
		slices.Sort(found)
		return slices.Equal(want, found)
	}, "the processes %v; there are %v", want, m.processes())

	require.Equal(m.t, m.holder == 0, isFree(m.t, m.pidfile), "the state of the lock")
	status := m.call("status")
	m.did("status: %d %s", status.Code, status.Stdout)
	first := strings.SplitAfter(status.Stdout, "\n")[0]
	files := []string{filepath.Base(m.pidfile), filepath.Base(proctest.StatePath(m.pidfile))}
	switch {
	case m.holder != 0:
		requireReady(m.t, m.holder, proctest.Result{Stdout: first, Code: status.Code})
		proctest.RequireText(m.t, m.pidfile, fmt.Sprintln(m.holder))
		m.checkDescriptors()
	case m.left != 0:
		require.Equal(m.t, 1, status.Code)
		require.True(m.t, strings.HasPrefix(first, fmt.Sprintf("daemon: dead: pid %d left %s, was ready ", m.left, m.pidfile)), first)
		proctest.RequireText(m.t, m.pidfile, fmt.Sprintln(m.left))
	default:
		want, state := notRunning(m.pidfile), proctest.StatePath(m.pidfile)
		files = nil
		if s, err := readStatus(state); err == nil && s.Failed != nil { // of a failed start
			files, m.orphan = []string{filepath.Base(state)}, false
			require.Regexp(m.t, `^daemon: not running; failed \d+[sm] ago: .+\n$`, first)
			want = first
		}
		require.Equal(m.t, proctest.Result{Stdout: want, Code: 3}, proctest.Result{Stdout: first, Stderr: status.Stderr, Code: status.Code})
	}
	found := folder(m.t, filepath.Dir(m.pidfile))
	if m.orphan {
		found = slices.DeleteFunc(found, func(name string) bool { return name == filepath.Base(proctest.StatePath(m.pidfile)) })
	}
	require.ElementsMatch(m.t, files, found)
}

// checkDescriptors requires that the holder has as many descriptors as at the first check, and no
// socket to a launcher.
func (m *daemonModel) checkDescriptors() {
	m.t.Helper()
	open := func() int {
		return len(folder(m.t, fmt.Sprintf("/proc/%d/fd", m.holder)))
	}
	proctest.Eventually(m.t, func() bool { return !hasSocket(m.holder) }, "the end of the handshake")
	if m.opened == 0 {
		m.opened = open()
	}
	proctest.Eventually(m.t, func() bool { return open() <= m.opened }, "pid %d to have no more than %d descriptors", m.holder, m.opened)
}

// end ends all live daemons. Then it requires that one more daemon starts, stops and leaves
// nothing.
func (m *daemonModel) end() {
	for len(m.lost) > 0 {
		m.endLost()
	}
	m.restartOne()
	m.check()
	if m.holder == 0 {
		m.startOne()
	}
	m.stopOne()
	m.check()
	m.requireNothingLeft()
}
