//go:build linux

package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Row K6.
func TestAServiceThatHangsIsEndedWithABRTAndRestarted(t *testing.T) {
	t.Parallel()
	m := needMachine(t, systemd)
	dir := m.dir(t)
	u := m.service(t, "hangs", "Type=notify", "WatchdogSec=1", "Restart=on-failure", "RestartSec=0",
		"ExecStartPre=rm -f "+dir+"/now", "ExecStart=/usr/local/bin/subject -pidfile "+dir+"/pid -hang-if "+dir+"/now run")
	u.systemctl("start")
	pid := u.mainPID()
	began := time.Now()
	eventually(t, func() bool { return time.Since(began) > 2*time.Second }, "two periods of the watchdog")
	require.Equal(t, "active\n0\n"+pid, u.show("ActiveState", "NRestarts", "MainPID"), "a healthy service is not restarted")
	m.write(t, dir+"/now", "")
	u.await("NRestarts", "1")
	u.await("ActiveState", "active")
	require.NotEqual(t, pid, u.mainPID())
	require.Equal(t, u.mainPID()+"\n", m.read(t, dir+"/pid"))
	journal := u.journal()
	require.Contains(t, journal, "Watchdog timeout (limit 1s)!")
	require.Contains(t, journal, "SIGABRT")
	require.Contains(t, journal, "goroutine ", "the journal contains the stacks")
}

// Systemd is reloaded, and even re-executed, during a start and a reload.
// Row K9.
func TestADaemonReexecDuringAStartAndAReloadLosesNothing(t *testing.T) {
	m := needMachine(t, systemd) // not parallel, because it would delay all other tests
	for _, again := range []string{"daemon-reload", "daemon-reexec"} {
		name := strings.TrimPrefix(again, "daemon-") + "s"
		dir := m.dir(t)
		start, reload := dir+"/start", dir+"/reload"
		u := m.service(t, name, "Type=notify-reload", "WatchdogSec=10", "ExecStart=/usr/local/bin/subject -start-when "+start+" -reload-when "+reload+" run")
		u.systemctl("start", "--no-block")
		u.await("StatusText", "starting: OnStart of gates")
		m.run(t, "systemctl", again)
		m.write(t, start, "")
		u.await("ActiveState", "active")
		u.await("StatusText", "ready")
		pid := u.mainPID()

		u.systemctl("reload", "--no-block")
		u.await("StatusText", "reloading: OnReload of gates")
		m.run(t, "systemctl", again)
		m.write(t, reload, "")
		u.await("StatusText", "ready")
		u.await("ActiveState", "active")
		u.systemctl("reload")
		require.Equal(t, "active\n"+pid+"\n0", u.show("ActiveState", "MainPID", "NRestarts"))
		u.systemctl("stop")
		require.Equal(t, "success", u.show("Result"))
	}
}

// The PID file of a forking service appears late, across a daemon-reload and a daemon-reexec
// (TEST-07-PID1.pidfile-daemon-reload of systemd).
// Row K9.
func TestAForkingStartSurvivesADaemonReexec(t *testing.T) {
	m := needMachine(t, systemd)
	for _, again := range []string{"daemon-reload", "daemon-reexec"} {
		name := "forking-" + strings.TrimPrefix(again, "daemon-") + "s"
		dir := m.dir(t)
		gate, pidFile := dir+"/start", dir+"/pid"
		u := m.service(t, name, "Type=forking", "PIDFile="+pidFile, "ExecStart=/usr/local/bin/subject -pidfile "+pidFile+" -start-when "+gate+" start")
		u.systemctl("start", "--no-block")
		eventually(t, func() bool { return strings.Contains(u.journal(), "lines") || len(u.processes()) == 2 }, "launcher and daemon")
		m.run(t, "systemctl", again)
		m.write(t, gate, "")
		u.await("ActiveState", "active")
		require.Equal(t, u.mainPID()+"\n", m.read(t, pidFile))
		u.systemctl("stop")
		require.Equal(t, "success", u.show("Result"))
		require.NotRegexp(t, `(?i)parse PID|not readable`, u.journal())
	}
}

// Row K10.
func TestNoOrphanRemainsWithAnyKillMode(t *testing.T) {
	t.Parallel()
	m := needMachine(t, systemd)
	for _, kind := range []string{"run", "start"} {
		for _, mode := range []string{"control-group", "mixed", "process"} {
			name := "kill-" + mode + "-" + kind
			pidFile := m.dir(t) + "/pid"
			lines := []string{"Type=notify", "KillMode=" + mode, "ExecStart=/usr/local/bin/subject -pidfile " + pidFile + " -child " + kind}
			if kind == "start" {
				lines = append(lines, "Type=forking", "PIDFile="+pidFile)
			}
			u := m.service(t, name, lines...)
			u.systemctl("start")
			pids := u.processes()
			require.Len(t, pids, 2, name)
			u.systemctl("stop")
			require.Equal(t, "inactive\nsuccess", u.show("ActiveState", "Result"))
			for _, pid := range pids {
				require.NoDirExists(t, m.path("/proc/"+pid), "%s: %s", name, pid)
			}
			require.NotRegexp(t, `(?i)left-over|remains running|killing process`, u.journal())
		}
	}
}

// After a crash, systemd ends the remaining child. No lock remains.
// Row K10.
func TestAKilledServiceRestartsAlthoughItsChildRemains(t *testing.T) {
	t.Parallel()
	m := needMachine(t, systemd)
	u := m.service(t, "killed", "Type=notify", "KillMode=process", "Restart=always", "RestartSec=0",
		"ExecStart=/usr/local/bin/subject -pidfile /run/killed.pid -child run")
	u.systemctl("start")
	pid := u.mainPID()
	m.sh(t, "kill -9 "+pid)
	eventually(t, func() bool { return u.show("ActiveState") == "active" && u.mainPID() != pid }, "another main process")
	// systemd shows the new PID before the new process has written it to the PID file.
	eventually(t, func() bool { return m.read(t, "/run/killed.pid") == u.mainPID()+"\n" }, "its PID in the file")
	require.Len(t, u.processes(), 3, "this mode leaves the child of the first process")
}
