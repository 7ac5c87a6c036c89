//go:build linux

package conformance

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Under systemd, a guard supervises any program. For the program, the guard is a service manager.
// For systemd, it is a service that never crashes.
func TestAGuardRunsAnyProgramAsAService(t *testing.T) {
	t.Parallel()
	m := needMachine(t, systemd)
	dir := m.dir(t)
	u := m.service(t, "guarded", "Type=notify", "WatchdogSec=10", "KillMode=mixed",
		"ExecStart=/usr/local/bin/guard -name guarded -pidfile "+dir+`/pid run -- sh -c "systemd-notify --ready --status=warm; exec sleep 1000"`)
	u.systemctl("start")
	guard := u.mainPID()
	worker := func() string {
		pids := slices.DeleteFunc(u.processes(), func(pid string) bool { return pid == guard })
		if len(pids) != 1 {
			return ""
		}
		comm, _ := m.try("cat", "/proc/"+pids[0]+"/comm")
		if strings.TrimSpace(comm) != "sleep" {
			return ""
		}
		return pids[0]
	}
	eventually(t, func() bool { return worker() != "" }, "the program")
	first := worker()
	m.sh(t, "kill -9 "+first)
	eventually(t, func() bool { pid := worker(); return pid != "" && pid != first }, "another one")
	require.Equal(t, "active\n0\n"+guard, u.show("ActiveState", "NRestarts", "MainPID"))
	require.Contains(t, m.run(t, "guard", "-name", "guarded", "-pidfile", dir+"/pid", "status"), "signal SIGKILL")
	second := worker()
	u.systemctl("stop")
	require.Equal(t, "inactive\nsuccess", u.show("ActiveState", "Result"))
	require.NoDirExists(t, m.path("/proc/"+second))
	require.NotRegexp(t, `(?i)left-over|remains running|killing process`, u.journal())
}
