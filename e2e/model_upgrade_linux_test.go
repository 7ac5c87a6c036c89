package e2e

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// upgradeModel is what must be true of a daemon and its releases.
type upgradeModel struct {
	*releases
	rand      *rand.Rand
	status    lifecycle.Status // zero: no daemon runs
	installed int              // releases so far
	upgrades  int              // of this daemon
	steps     []string
}

// step does something at random. It requires that the verbs report what the model expects.
func (m *upgradeModel) step() {
	t := m.releases.t
	t.Helper()
	steps := []func(){m.goodUpgrade, m.badUpgrade, m.doReload, m.killWorker, m.killSupervisor, m.killNewWorker, m.stopIt}
	if m.status.PID == 0 {
		m.steps = append(m.steps, "start")
		m.status, m.upgrades = m.begin(), 0
		return
	}
	steps[m.rand.IntN(len(steps))]()
	if m.status.PID == 0 {
		return
	}
	now := m.settled()
	require.Equal(t, m.status.PID, now.PID, "%q", m.steps)
	require.Equal(t, m.upgrades, now.Upgrades, "%q", m.steps)
	require.Equal(t, m.status.Version, now.Version, "%q", m.steps)
	require.Equal(t, m.status.Version, now.WorkerVersion, "%q", m.steps)
	m.requireProgram(now.Worker, now.Version)
	m.status = now
}

// settled waits until the daemon has one worker and no work.
func (m *upgradeModel) settled() lifecycle.Status {
	return m.told(fmt.Sprintf("one ready worker after %q", m.steps), func(s lifecycle.Status) bool {
		return s.Phase == lifecycle.Ready && s.Worker != 0 && s.Upgrading == 0 && len(s.Draining) == 0 && len(m.processes()) == 2
	})
}

func (m *upgradeModel) next(what string) (version string) {
	m.installed++
	m.steps = append(m.steps, what)
	return fmt.Sprintf("2.%d", m.installed)
}

func (m *upgradeModel) goodUpgrade() {
	version := m.next("upgrade")
	m.install(version)
	m.status = m.upgraded(m.status, version)
	m.upgrades++
}

func (m *upgradeModel) badUpgrade() {
	old := m.status.Version
	m.install(m.next("bad upgrade"), []string{"init=exit:5", "main=exit:4", "start=error", "nosupervise"}[m.rand.IntN(4)])
	got := m.upgrade()
	require.Equal(m.releases.t, 1, got.Code, "%s%q", got.Stderr, m.steps)
	require.Equal(m.releases.t, m.status.Worker, m.settled().Worker, "%q", m.steps)
	m.upgrades++
	m.flip(old)
}

func (m *upgradeModel) killNewWorker() {
	old := m.status.Version
	verb, during, _ := m.slowly(m.next("kill of the new worker"))
	require.NoError(m.releases.t, syscall.Kill(during.Upgrading, syscall.SIGKILL))
	require.Equal(m.releases.t, 1, verb.Wait(), "%s%q", verb.Out, m.steps)
	require.Equal(m.releases.t, m.status.Worker, m.settled().Worker, "%q", m.steps)
	m.upgrades++
	m.flip(old)
}

func (m *upgradeModel) doReload() {
	m.steps = append(m.steps, "reload")
	got := m.call("reload")
	require.Equal(m.releases.t, 0, got.Code, "%s%q", got.Stderr, m.steps)
}

func (m *upgradeModel) killWorker() {
	m.steps = append(m.steps, "kill of the worker")
	require.NoError(m.releases.t, syscall.Kill(m.status.Worker, syscall.SIGKILL))
	m.worker(m.status.Worker)
}

func (m *upgradeModel) killSupervisor() {
	m.steps = append(m.steps, "kill of the supervisor")
	require.NoError(m.releases.t, syscall.Kill(m.status.PID, syscall.SIGKILL))
	proctest.Eventually(m.releases.t, func() bool { return len(m.processes()) == 0 && isFree(m.releases.t, m.pidfile) }, "the end of the daemon, %q", m.steps)
	m.status = lifecycle.Status{}
}

func (m *upgradeModel) stopIt() {
	m.steps = append(m.steps, "stop")
	m.stop()
	m.status = lifecycle.Status{}
}

// Upgrades, reloads, kills, stops and starts in random order.
func TestRandomUpgradesKeepToTheModel(t *testing.T) {
	t.Parallel()
	first, last := proctest.Seeds(t, 10, 2_000)
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			m := &upgradeModel{releases: deployed(t), rand: rand.New(rand.NewPCG(seed, 0))}
			m.crashes = true
			for range 10 {
				m.step()
			}
			if m.status.PID == 0 {
				m.step() // a start after a kill or a stop works
			}
			m.stopIt()
		})
	}
}
