//go:build linux

package conformance

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// These tests do not run in parallel, because they use the address of echod.

// refusals connects repeatedly until count is called. count returns how many connects succeeded and
// how many were refused.
func (m *machine) refusals(t *testing.T) (count func() (connects, refused int)) {
	t.Helper()
	dir := m.dir(t)
	enough := dir + "/enough"
	done := make(chan string, 1)
	go func() {
		out, _ := m.try("bash", "-c", `until [ -e `+enough+` ]; do if (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null; then echo connected; else echo refused; fi; done`)
		done <- out
	}()
	return func() (connects, refused int) {
		t.Helper()
		m.write(t, enough, "")
		out := <-done
		return strings.Count(out, "connected"), strings.Count(out, "refused")
	}
}

// socketUnit installs echod.socket for that service.
func (m *machine) socketUnit(t *testing.T, service string) *unit {
	t.Helper()
	socket := m.deployed(t, "echod.socket")
	if service != "echod.service" {
		m.write(t, "/run/systemd/system/echod.socket.d/service.conf", "[Socket]\nService="+service+"\n")
		t.Cleanup(func() { m.try("rm", "-r", "/run/systemd/system/echod.socket.d") })
		m.run(t, "systemctl", "daemon-reload")
	}
	socket.systemctl("start")
	return socket
}

func TestASocketUnitStartsEchodAndKeepsItsAddressDuringRestarts(t *testing.T) {
	m := needMachine(t, systemd)
	u := m.deployed(t, "echod.service")
	socket := m.socketUnit(t, "echod.service")
	require.Equal(t, "inactive", u.show("ActiveState"))
	require.Equal(t, "hello\n", m.get(t), "a connection starts the service")
	require.Equal(t, "active\nready", u.show("ActiveState", "StatusText"))
	count := m.refusals(t)
	for range 3 {
		u.systemctl("reset-failed") // resets the start counter
		u.systemctl("restart")
		pid := u.mainPID()
		m.sh(t, "kill -9 "+pid)
		eventually(t, func() bool { return u.show("ActiveState") == "active" && u.mainPID() != pid }, "another one")
	}
	connects, refused := count()
	require.NotZero(t, connects)
	require.Zero(t, refused, "of %d", connects+refused)
	require.Equal(t, "hello\n", m.get(t))
	u.systemctl("stop")
	require.Equal(t, "active", socket.show("ActiveState"))
	require.Equal(t, "hello\n", m.get(t), "the service answers again")
	require.NotContains(t, u.journal(), "address already in use")
}

// This also holds after Detach: the launcher receives the socket.
func TestASocketUnitServesAForkingService(t *testing.T) {
	m := needMachine(t, systemd)
	u := m.deployed(t, "echod-forking.service")
	m.socketUnit(t, "echod-forking.service")
	require.Equal(t, "hello\n", m.get(t))
	require.Equal(t, u.mainPID()+"\n", m.read(t, "/run/echod.pid"))
	require.Equal(t, "active", u.show("ActiveState"))
}

func TestTheDescriptorStoreKeepsTheAddressAfterACrash(t *testing.T) {
	m := needMachine(t, systemd)
	m.configure(t, "hello")
	u := m.service(t, "stores", "Type=notify", "FileDescriptorStoreMax=8", "Restart=on-failure", "RestartSec=0",
		"ExecStart=/usr/local/bin/echod -config /etc/echod/echod.json run")
	u.systemctl("start")
	u.await("NFileDescriptorStore", "1")
	count := m.refusals(t)
	for range 3 {
		u.systemctl("reset-failed") // resets the start counter
		pid := u.mainPID()
		m.sh(t, "kill -9 "+pid)
		eventually(t, func() bool { return u.show("ActiveState") == "active" && u.mainPID() != pid }, "another one")
		u.systemctl("restart")
		require.Equal(t, "1", u.show("NFileDescriptorStore"), "the socket is not stored again")
	}
	connects, refused := count()
	require.NotZero(t, connects)
	require.Zero(t, refused, "of %d", connects+refused)
	u.systemctl("stop")
	require.Equal(t, "0\nsuccess", u.show("NFileDescriptorStore", "Result"))
	_, code := m.try("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080")
	require.NotZero(t, code, "no process holds the address after a stop")
}

func TestSystemdSocketActivatePassesTheSocket(t *testing.T) {
	m := needMachine(t, systemd)
	m.supervisor(t, "activates", "/usr/bin/systemd-socket-activate --listen=8080 /usr/local/bin/echod -config /etc/echod/echod.json run")
	eventually(t, func() bool { _, code := m.try("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080"); return code == 0 }, "the address")
	require.Equal(t, "hello\n", m.get(t))
}
