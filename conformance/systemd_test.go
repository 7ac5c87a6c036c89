//go:build linux

package conformance

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Tests that use the address or the files of echod do not run in parallel.

func TestSystemdAnalyzeAcceptsTheUnitFiles(t *testing.T) {
	m := needMachine(t, systemd)
	files, err := filepath.Glob("../_example/deploy/systemd/*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	m.sh(t, "mkdir -p /run/verify && cp /deploy/systemd/* /run/verify/")
	for _, file := range files {
		name := strings.Replace(filepath.Base(file), "@.", "@one.", 1)
		require.Empty(t, m.run(t, "systemd-analyze", "verify", "/run/verify/"+name), name)
	}
}

// Row K8.
func TestANotifyServiceIsActiveWhenItIsReady(t *testing.T) {
	m := needMachine(t, systemd)
	u := m.deployed(t, "echod.service")
	u.systemctl("start")
	require.Equal(t, "active\nrunning\nready", u.show("ActiveState", "SubState", "StatusText"))
	require.Equal(t, m.read(t, "/run/echod.pid"), u.mainPID()+"\n")
	require.Equal(t, []string{u.mainPID()}, u.processes(), "there is only one process")
	require.Equal(t, "hello\n", m.get(t))
	require.Contains(t, m.run(t, "systemctl", "status", u.name), `Status: "ready"`)

	u.systemctl("stop")
	require.Equal(t, "inactive\ndead\nsuccess", u.show("ActiveState", "SubState", "Result"))
	require.NoFileExists(t, m.path("/run/echod.pid"))
	journal := u.journal()
	require.Regexp(t, `(?m)^6 echod: ready pid=\d+ took=`, journal)
	require.NotRegexp(t, `(?m)^\d echod: .*\d\d:\d\d:\d\d`, journal, "the lines have no time, because the journal adds one")
	require.NotRegexp(t, `(?m)^[0-4] `, journal, "systemd logs no warning")
}

// Row K3.
func TestAReloadThatIsRefusedFailsSystemctlReload(t *testing.T) {
	m := needMachine(t, systemd)
	u := m.deployed(t, "echod.service")
	u.systemctl("start")
	pid := u.mainPID()
	m.configure(t, "good day")
	u.systemctl("reload")
	require.Equal(t, "good day\n", m.get(t))
	require.Equal(t, "ready", u.show("StatusText"))

	m.misconfigure(t)
	m.exits(t, 1, "systemctl", "reload", u.name)
	require.Equal(t, "active\nrunning\n"+pid, u.show("ActiveState", "SubState", "MainPID"))
	require.Equal(t, `ready, last reload rejected: OnCheck of config: /etc/echod/echod.json:2: unknown field "lisen"`, u.show("StatusText"))
	require.Contains(t, m.run(t, "systemctl", "status", u.name), "last reload rejected: OnCheck of config: ")
	require.Equal(t, "good day\n", m.get(t))
	require.Regexp(t, `(?m)^3 echod: reload rejected, old configuration kept`, u.journal())
	u.systemctl("stop")
	require.Equal(t, "success", u.show("Result"))
}

// This unit of docs/systemd.md removes every privilege that the kernel can remove from a service.
// Row K11.
func TestTheHardenedUnitRunsAndReloads(t *testing.T) {
	m := needMachine(t, systemd)
	u := m.deployed(t, "echod-hardened.service")
	u.systemctl("start")
	require.Equal(t, "active\nready", u.show("ActiveState", "StatusText"))
	pid := u.mainPID()
	require.Equal(t, pid+"\n", m.read(t, "/run/echod-hardened/echod.pid"))
	require.NotRegexp(t, `(?m)^Uid:\s+0\s`, m.read(t, "/proc/"+pid+"/status"), "the service does not run as root")
	require.Regexp(t, `(?m)^CapEff:\s+0+$`, m.read(t, "/proc/"+pid+"/status"))

	m.configure(t, "good day")
	u.systemctl("reload")
	require.Equal(t, "good day\n", m.get(t))
	m.misconfigure(t)
	u.systemctl("reload") // Type=notify-reload cannot report a rejected reload
	require.Equal(t, `ready, last reload rejected: OnCheck of config: /etc/echod/echod.json:2: unknown field "lisen"`, u.show("StatusText"))
	require.Equal(t, "good day\n", m.get(t))

	require.Contains(t, m.run(t, "/usr/local/bin/echod", "-pidfile", "/run/echod-hardened/echod.pid", "status"), "echod: ready (pid "+pid+")")
	u.systemctl("stop")
	require.Equal(t, "success", u.show("Result"))
	require.NoDirExists(t, m.path("/run/echod-hardened"))
	require.NotRegexp(t, `(?m)^[0-2,4] `, u.journal())
}

func TestInstancesOfATemplateUseDifferentFiles(t *testing.T) {
	m := needMachine(t, systemd)
	one := m.deployed(t, "echod@one.service")
	m.write(t, "/etc/echod/one.json", `{"listen": "127.0.0.1:8081"}`)
	m.write(t, "/etc/echod/two.json", `{"listen": "127.0.0.1:8082"}`)
	two := &unit{machine: m, t: t, name: "echod@two.service"}
	defer m.try("systemctl", "stop", two.name)
	one.systemctl("start")
	two.systemctl("start")
	require.NotEqual(t, one.mainPID(), two.mainPID())
	one.systemctl("reload")
	one.systemctl("stop")
	require.Equal(t, "active", two.show("ActiveState"))
	require.Equal(t, two.mainPID()+"\n", m.read(t, "/run/echod-two/echod.pid"))
	two.systemctl("stop")
	require.Equal(t, "success", two.show("Result"))
}

// systemd finds the PID file at once, because the file is complete before the start returns.
// Row K7.
func TestAForkingServiceHasItsPIDFileWhenTheStartReturns(t *testing.T) {
	m := needMachine(t, systemd)
	u := m.deployed(t, "echod-forking.service")
	for range 5 {
		u.systemctl("start")
		require.Equal(t, "active\nrunning", u.show("ActiveState", "SubState"))
		require.Equal(t, u.mainPID()+"\n", m.read(t, "/run/echod.pid"))
		require.Equal(t, []string{u.mainPID()}, u.processes(), "the launcher and stage 1 are gone")
		u.systemctl("stop")
		require.Equal(t, "inactive\nsuccess", u.show("ActiveState", "Result"))
	}
	u.systemctl("start")
	u.systemctl("reload")

	pid := u.mainPID()
	m.sh(t, "kill -9 "+pid)
	eventually(t, func() bool { return u.show("ActiveState") == "active" && u.mainPID() != pid && u.mainPID() != "0" }, "another one")
	require.Equal(t, u.mainPID()+"\n", m.read(t, "/run/echod.pid"))
	u.systemctl("stop")
	require.NotRegexp(t, `(?i)PID file|parse PID|not readable`, u.journal())

	m.misconfigure(t)
	m.exits(t, 1, "systemctl", "start", u.name)
	require.Regexp(t, `echod: start failed: config: /etc/echod/echod.json:2: unknown field "lisen"`, u.journal())
}

// In the foreground, the service is one process for every type of unit, and needs no PID file.
// Row K8.
func TestServiceTypesWithoutNotifyWork(t *testing.T) {
	t.Parallel()
	m := needMachine(t, systemd)
	for _, kind := range []string{"simple", "exec"} {
		u := m.service(t, "type-"+kind, "Type="+kind, "ExecStart=/usr/local/bin/subject run")
		u.systemctl("start")
		eventually(t, func() bool { return strings.Contains(u.journal(), "6 subject: ready pid="+u.mainPID()+" ") }, "ready")
		require.Equal(t, []string{u.mainPID()}, u.processes())
		require.Equal(t, "/usr/local/bin/subject\x00run\x00", m.read(t, "/proc/"+u.mainPID()+"/cmdline"))
		require.Regexp(t, `(?m)^4 subject: two\n4 subject: lines$`, u.journal())
		u.systemctl("stop")
		require.Equal(t, "success", u.show("Result"))
	}
	u := m.service(t, "type-exec-missing", "Type=exec", "ExecStart=/usr/local/bin/subject -need /no/such/file run")
	u.systemctl("start") // for this type, systemd does not wait for readiness
	u.await("ActiveState", "failed")
	require.Equal(t, "exit-code\n1", u.show("Result", "ExecMainStatus"))
}

// This test covers rows K2 and K3 with a real systemd.
func TestAFailedStartShowsWhyInSystemctlStatus(t *testing.T) {
	t.Parallel()
	m := needMachine(t, systemd)
	u := m.service(t, "fails", "Type=notify", "ExecStart=/usr/local/bin/subject -need /no/such/file run")
	m.exits(t, 1, "systemctl", "start", u.name)
	require.Equal(t, "failed\nexit-code\n1\n2\nOnStart of gates: open /no/such/file: no such file or directory",
		u.show("ActiveState", "Result", "ExecMainStatus", "StatusErrno", "StatusText"))
	status := m.exits(t, 3, "systemctl", "status", u.name)
	require.Contains(t, status, `Status: "OnStart of gates: open /no/such/file: no such file or directory"`)
	require.Regexp(t, `Error: (code: )?2 \(No such file or directory\)`, status)
	const failed = `3 subject: OnStart of gates failed err="open /no/such/file: no such file or directory"`
	require.Contains(t, u.journal(), failed) // journalctl -p err shows it
}

// Row K3.
func TestNotifyReloadWaitsForTheVerdict(t *testing.T) {
	t.Parallel()
	m := needMachine(t, systemd)
	dir := m.dir(t)
	u := m.service(t, "reloads", "Type=notify-reload", "ExecStart=/usr/local/bin/subject -reload-when "+dir+"/go -refuse-if "+dir+"/refuse run")
	u.systemctl("start")
	u.systemctl("reload", "--no-block")
	u.await("StatusText", "reloading: OnReload of gates")
	require.Equal(t, "reloading\nreload-notify", u.show("ActiveState", "SubState"))
	m.write(t, dir+"/go", "")
	u.await("ActiveState", "active")
	require.Equal(t, "success\nready", u.show("ReloadResult", "StatusText"))
	m.write(t, dir+"/refuse", "")
	u.systemctl("reload")
	require.Equal(t, "active\nready, last reload rejected: OnReload of gates: refused on purpose", u.show("ActiveState", "StatusText"))
	m.run(t, "rm", dir+"/refuse")
	u.systemctl("reload")
	require.Equal(t, "ready", u.show("StatusText"))
	u.systemctl("stop")
	require.Equal(t, "success", u.show("Result"))
}

// The daemon sets a limit for each phase, and extends shorter limits of systemd. This test must not
// run at the same time as tests that reload systemd, because a reload makes systemd forget
// extensions.
// Row K4.
func TestAStartAndAStopMayTakeLongerThanTheLimitsOfTheUnit(t *testing.T) {
	m := needMachine(t, systemd)
	dir := m.dir(t)
	u := m.service(t, "extends", "Type=notify", "TimeoutStartSec=1", "TimeoutStopSec=1",
		"ExecStart=/usr/local/bin/subject -start-when "+dir+"/start -stop-when "+dir+"/stop run")
	longer := func() {
		began := time.Now()
		eventually(t, func() bool { return time.Since(began) > 2*time.Second }, "two seconds")
	}
	u.systemctl("start", "--no-block")
	u.await("ActiveState", "activating")
	longer()
	require.Equal(t, "activating\nstarting: OnStart of gates", u.show("ActiveState", "StatusText"))
	m.write(t, dir+"/start", "")
	u.await("ActiveState", "active")
	u.systemctl("stop", "--no-block")
	u.await("ActiveState", "deactivating")
	longer()
	require.Equal(t, "deactivating\nstopping: OnStop of gates", u.show("ActiveState", "StatusText"))
	m.write(t, dir+"/stop", "")
	u.await("ActiveState", "inactive")
	require.Equal(t, "success", u.show("Result"))
}

func TestASecondStartUnderSystemdIsRefused(t *testing.T) {
	t.Parallel()
	m := needMachine(t, systemd)
	first := m.service(t, "first", "Type=notify", "ExecStart=/usr/local/bin/subject -pidfile /run/both.pid run")
	second := m.service(t, "second", "Type=notify", "ExecStart=/usr/local/bin/subject -pidfile /run/both.pid run")
	first.systemctl("start")
	m.exits(t, 1, "systemctl", "start", second.name)
	require.Equal(t, "already running (pid "+first.mainPID()+"), PID file /run/both.pid", second.show("StatusText"))
	require.Equal(t, "active\nready", first.show("ActiveState", "StatusText"))
}
