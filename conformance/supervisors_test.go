//go:build linux

package conformance

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// These tests do not run in parallel, because they use the address and the PID file of echod.

// supervisor runs a supervisor until the end of the test. Its cgroup ends all processes that it has
// started.
func (m *machine) supervisor(t *testing.T, name, command string) *unit {
	t.Helper()
	m.configure(t, "hello")
	u := m.service(t, name, "ExecStart="+command, "KillMode=mixed", "TimeoutStopSec=60")
	u.systemctl("start")
	return u
}

// pid returns the PID of the ready echod.
func (m *machine) pid(t *testing.T) (pid string) {
	t.Helper()
	eventually(t, func() bool {
		_, code := m.try("echod", "status", "--ready")
		return code == 0
	}, "an echod that is ready")
	return strings.TrimSpace(m.read(t, "/run/echod.pid"))
}

// killed kills echod and returns the PID of the next one.
func (m *machine) killed(t *testing.T, pid string) (next string) {
	t.Helper()
	m.sh(t, "kill -9 "+pid)
	eventually(t, func() bool {
		text, _ := os.ReadFile(m.path("/run/echod.pid"))
		next = strings.TrimSpace(string(text))
		return next != "" && next != pid
	}, "another echod")
	return m.pid(t)
}

func TestS6DetectsReadyAndRestartsTheService(t *testing.T) {
	m := needMachine(t, systemd)
	m.sh(t, "rm -rf /run/s6 && mkdir /run/s6 && cp -r /deploy/s6/echod /run/s6/")
	s6 := m.supervisor(t, "s6", "/usr/bin/s6-svscan /run/s6")
	eventually(t, func() bool { _, code := m.try("s6-svok", "/run/s6/echod"); return code == 0 }, "s6-supervise")
	m.run(t, "s6-svwait", "-U", "-t", "30000", "/run/s6/echod") // up and ready
	require.Regexp(t, `^up \(pid \d+ pgid \d+\) \d+ seconds, ready \d+ seconds\n$`, m.run(t, "s6-svstat", "/run/s6/echod"))
	pid := m.pid(t)
	require.Contains(t, m.run(t, "s6-svstat", "/run/s6/echod"), "(pid "+pid+" ")
	require.NotContains(t, m.run(t, "ls", "-l", "/proc/"+pid+"/fd"), " 3 -> pipe:", "the descriptor is closed")

	m.configure(t, "good day")
	m.run(t, "s6-svc", "-h", "/run/s6/echod")
	eventually(t, func() bool { return m.get(t) == "good day\n" }, "the reload")
	pid = m.killed(t, pid)
	m.run(t, "s6-svwait", "-U", "-t", "30000", "/run/s6/echod")
	m.run(t, "s6-svc", "-wD", "-T", "30000", "-d", "/run/s6/echod")
	require.Contains(t, m.run(t, "s6-svstat", "/run/s6/echod"), "down (exitcode 0)")
	require.NoDirExists(t, m.path("/proc/"+pid))
	require.NotContains(t, s6.journal(), "level=WARN")
	require.NotRegexp(t, `WARN|READY_FD`, s6.journal())
}

func TestRunitStartsWaitsReloadsAndStops(t *testing.T) {
	m := needMachine(t, systemd)
	m.sh(t, "rm -rf /run/sv && mkdir /run/sv && cp -r /deploy/runit/echod /run/sv/")
	m.supervisor(t, "runit", "/usr/bin/runsvdir /run/sv")
	eventually(t, func() bool { _, code := m.try("test", "-p", "/run/sv/echod/supervise/ok"); return code == 0 }, "runsv")
	require.Contains(t, m.run(t, "sv", "-w", "30", "start", "/run/sv/echod"), "ok: run: /run/sv/echod: ")
	require.Equal(t, "hello\n", m.get(t), "echod was ready when sv returned")
	pid := m.pid(t)
	m.configure(t, "good day")
	m.run(t, "sv", "hup", "/run/sv/echod")
	eventually(t, func() bool { return m.get(t) == "good day\n" }, "the reload")
	pid = m.killed(t, pid)
	require.Contains(t, m.run(t, "sv", "-w", "30", "stop", "/run/sv/echod"), "ok: down: ")
	require.NoDirExists(t, m.path("/proc/"+pid))
}

func TestSupervisordStartsReloadsAndStops(t *testing.T) {
	m := needMachine(t, systemd)
	conf := "/run/supervisord.conf"
	m.write(t, conf, "[unix_http_server]\nfile=/run/own-supervisor.sock\n[supervisord]\nnodaemon=true\nlogfile=/run/supervisord.log\npidfile=/run/own-supervisord.pid\n"+
		"[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"+
		"[supervisorctl]\nserverurl=unix:///run/own-supervisor.sock\n[include]\nfiles=/deploy/supervisord/*.conf\n")
	m.supervisor(t, "supervisord", "/usr/bin/supervisord -c "+conf)
	pid := m.pid(t)
	eventually(t, func() bool {
		out, _ := m.try("supervisorctl", "-c", conf, "status", "echod")
		return strings.Contains(out, "RUNNING   pid "+pid+",")
	}, "RUNNING")
	m.configure(t, "good day")
	m.run(t, "supervisorctl", "-c", conf, "signal", "HUP", "echod")
	eventually(t, func() bool { return m.get(t) == "good day\n" }, "the reload")
	pid = m.killed(t, pid)
	eventually(t, func() bool {
		out, _ := m.try("supervisorctl", "-c", conf, "status", "echod")
		return strings.Contains(out, "RUNNING   pid "+pid+",")
	}, "RUNNING again")
	require.Equal(t, "echod: stopped\n", m.run(t, "supervisorctl", "-c", conf, "stop", "echod"))
	require.NoDirExists(t, m.path("/proc/"+pid))
	require.Contains(t, m.read(t, "/var/log/echod.log"), "msg=stopped")
}

// background starts an echod. The end of the test ends it.
func (m *machine) background(t *testing.T) (pid string) {
	t.Helper()
	m.configure(t, "hello")
	m.run(t, "echod", "-config", "/etc/echod/echod.json", "start")
	t.Cleanup(func() { m.try("echod", "stop") })
	return m.pid(t)
}

func TestLogrotateRotatesTheLogWithAndWithoutARunningEchod(t *testing.T) {
	m := needMachine(t, systemd)
	m.sh(t, "rm -f /var/log/echod.log* /var/lib/logrotate/status; cp /deploy/logrotate/echod /etc/logrotate.d/echod; chmod 644 /etc/logrotate.d/echod")
	m.background(t)
	for range 3 {
		m.run(t, "logrotate", "--force", "/etc/logrotate.d/echod")
		require.Contains(t, m.read(t, "/var/log/echod.log"), `msg="log reopened"`)
		info, err := os.Stat(m.path("/var/log/echod.log"))
		require.NoError(t, err)
		require.Equal(t, "-rw-r-----", info.Mode().String())
	}
	m.run(t, "echod", "reload")
	require.Contains(t, m.read(t, "/var/log/echod.log"), "msg=reloaded", "echod continues in the new log")
	require.NotContains(t, m.read(t, "/var/log/echod.log.1"), "msg=reloaded")
	require.Contains(t, m.sh(t, "zcat /var/log/echod.log.3.gz"), "msg=ready")
	m.run(t, "echod", "stop")
	require.Empty(t, m.run(t, "logrotate", "--force", "/etc/logrotate.d/echod"), "no echod runs, and this is not an error")
}

func TestStartStopDaemonStartsFindsAndStops(t *testing.T) {
	m := needMachine(t, systemd)
	m.configure(t, "hello")
	ssd := func(code int, args ...string) string {
		t.Helper()
		return m.exits(t, code, append([]string{"start-stop-daemon", "--pidfile", "/run/echod.pid", "--exec", "/usr/local/bin/echod"}, args...)...)
	}
	t.Cleanup(func() { m.try("echod", "stop") })
	ssd(0, "--start", "--", "-config", "/etc/echod/echod.json", "start")
	require.Equal(t, "hello\n", m.get(t), "echod is ready when the command returns")
	ssd(0, "--status")
	ssd(1, "--start", "--", "-config", "/etc/echod/echod.json", "start")
	ssd(0, "--stop", "--retry", "TERM/26/KILL/5")
	ssd(3, "--status")
	require.NoFileExists(t, m.path("/run/echod.pid"))

	// start-stop-daemon can itself wait for READY=1.
	ssd(0, "--start", "--background", "--notify-await", "--", "-config", "/etc/echod/echod.json", "run")
	require.Equal(t, "hello\n", m.get(t), "echod is ready when the command returns")
	ssd(0, "--stop", "--retry", "TERM/26/KILL/5")
	m.misconfigure(t)
	ssd(1, "--start", "--", "-config", "/etc/echod/echod.json", "start")
}

func TestOpenRCStartsReloadsRestartsAndStops(t *testing.T) {
	m := needMachine(t, openrc)
	// This makes the machine look as after a boot.
	m.sh(t, "for dir in daemons exclusive failed options started starting stopping tmp; do mkdir -p /run/openrc/$dir; done; touch /run/openrc/softlevel; cp /deploy/openrc/echod /etc/init.d/echod")
	m.configure(t, "hello")
	rc := func(code int, verb string) string {
		t.Helper()
		return m.exits(t, code, "/etc/init.d/echod", verb)
	}
	t.Cleanup(func() { m.try("/etc/init.d/echod", "stop") })
	var minor int
	_, err := fmt.Sscanf(m.run(t, "openrc", "--version"), "openrc (OpenRC) 0.%d", &minor)
	require.NoError(t, err)
	rc(0, "start")
	if minor >= 60 {
		require.Equal(t, "hello\n", m.get(t), "echod was ready when the start returned")
	} else {
		t.Logf("OpenRC 0.%d waits for nobody", minor)
	}
	pid := m.pid(t)
	rc(0, "status")
	m.configure(t, "good day")
	require.Contains(t, rc(0, "reload"), "echod: reloaded (")
	require.Equal(t, "good day\n", m.get(t))
	m.misconfigure(t)
	require.Contains(t, rc(1, "reload"), "echod: reload rejected, old configuration kept: config: ")
	m.configure(t, "hello")
	pid = m.killed(t, pid)
	rc(0, "stop")
	require.NoDirExists(t, m.path("/proc/"+pid))
	m.misconfigure(t)
	require.Contains(t, rc(1, "start"), "echod: check failed: config: ")
}
