//go:build linux

package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// For systemd, an upgrade is a reload: the main PID stays.
func TestSystemctlReloadUpgradesAServiceUnderItsPID(t *testing.T) {
	m := needMachine(t, systemd)
	dir := m.dir(t)
	flags := "-pidfile " + dir + "/pid -file " + dir + "/answer "
	m.write(t, dir+"/answer", "one")
	u := m.service(t, "upgraded", "Type=notify", "Restart=on-failure", "RestartSec=0",
		"ExecStart=/usr/local/bin/upgradable "+flags+"run", "ExecReload=/usr/local/bin/upgradable "+flags+"upgrade")
	u.systemctl("start")
	pid := u.mainPID()
	require.Equal(t, "one 1", m.get(t))

	m.write(t, dir+"/answer", "two")
	count := m.refusals(t)
	u.systemctl("reload")
	require.Equal(t, "two 2", m.get(t), "with the stored file")
	require.Equal(t, "active\n0\n"+pid, u.show("ActiveState", "NRestarts", "MainPID"))

	m.sh(t, "rm "+dir+"/answer")
	_, code := m.try("systemctl", "reload", u.name)
	require.NotZero(t, code)
	require.Equal(t, "two 2", m.get(t))
	require.Equal(t, "active\n0\n"+pid, u.show("ActiveState", "NRestarts", "MainPID"))
	connects, refused := count()
	require.NotZero(t, connects)
	require.Zero(t, refused, "of %d", connects+refused)

	m.write(t, dir+"/answer", "three")
	m.sh(t, "kill -9 "+pid)
	eventually(t, func() bool { return u.show("ActiveState") == "active" && u.mainPID() != pid }, "another process")
	require.Equal(t, "three 1", m.get(t))
	u.systemctl("restart")
	u.systemctl("reload")
	require.Equal(t, "three 2", m.get(t))
	u.systemctl("stop")
	require.Equal(t, "inactive\nsuccess", u.show("ActiveState", "Result"))
	require.NotRegexp(t, `(?i)left-over|remains running|killing process`, u.journal())
}
