// Package keeper finds the service manager that keeps this process running. That manager has
// started the process, and may start it again after it has ended.
package keeper

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"example.com/lifecycle/internal/sys/proc"
	"example.com/lifecycle/internal/sys/secureenv"
	"example.com/lifecycle/internal/sys/startup"
	"example.com/lifecycle/internal/sys/terminal"
)

// Manager is a service manager.
type Manager struct {
	Name string // "systemd", "systemd --user", "supervisord", or the command of the parent process
	Unit string // how the manager calls the service; "": unknown
}

// managers lists the commands of service managers that are recognized as a parent process.
var managers = []string{
	"runsv", "s6-supervise", "supervise", "supervise-daemo", "supervisord", "dinit", "perpd", "finit", "launchd",
	"monit", "circusd", "nosh",
}

// Of returns the manager that keeps this process running. The process must run in the foreground.
// told reports whether the environment names a manager that waits for readiness or for signs of
// life. kept is false if no manager is known.
func Of(told bool) (m Manager, kept bool) {
	if m, kept = Systemd(); kept {
		return m, true
	}
	if secureenv.Get("SUPERVISOR_ENABLED") != "" {
		return Manager{Name: "supervisord", Unit: supervisorName()}, true
	}
	parent := parentName()
	if told || slices.Contains(managers, parent) {
		return Manager{Name: parent}, true
	}
	return m, false
}

// Systemd returns systemd if systemd has started this process, or has started a script that is its
// parent. The variables alone prove nothing, because every process that a service starts inherits
// them. Therefore Systemd also compares the PID of the process that systemd has started
// (systemd.exec(5), SYSTEMD_EXEC_PID).
func Systemd() (m Manager, kept bool) {
	if secureenv.Get("INVOCATION_ID") == "" {
		return m, false
	}
	parent := os.Getppid()
	switch started := secureenv.Get("SYSTEMD_EXEC_PID"); started {
	case strconv.Itoa(os.Getpid()):
		kept = true
	case strconv.Itoa(parent): // a script, but not an interactive shell
		kept = !terminal.Is(startup.Stdin)
	case "": // before systemd 248
		kept = parentName() == "systemd"
	}
	if !kept {
		return m, false
	}
	m.Name = "systemd"
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return m, true
	}
	unit, user := unitOf(string(groups))
	if user {
		m.Name = "systemd --user"
	}
	m.Unit = unit
	return m, true
}

// unitOf returns the unit that a cgroup file names (proc_pid_cgroup(5), cgroups(7)). This is the
// last service in the path, or "" if the path has none. The path may continue with groups that the
// service has made. user reports whether the unit belongs to the manager of a user.
func unitOf(groups string) (unit string, user bool) {
	for line := range strings.Lines(groups) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) < 3 || fields[1] != "" && fields[1] != "name=systemd" {
			continue
		}
		for dir := range strings.SplitSeq(fields[2], "/") {
			// systemd puts "_" before a name that could clash with a file of the kernel.
			name := strings.TrimPrefix(dir, "_")
			switch {
			case strings.HasPrefix(name, "user@") && strings.HasSuffix(name, ".service"):
				user = true
			case strings.HasSuffix(name, ".service"):
				unit = name
			}
		}
		if unit != "" {
			return unit, user
		}
	}
	return "", user
}

// supervisorName returns the name for supervisorctl: group:process, or only the process if the
// group has the same name.
func supervisorName() string {
	group, process := secureenv.Get("SUPERVISOR_GROUP_NAME"), secureenv.Get("SUPERVISOR_PROCESS_NAME")
	if group == "" || group == process {
		return process
	}
	return group + ":" + process
}

// parentName returns the command of the parent process, or "" if it is unknown.
func parentName() string {
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return "" // a PID means another process there
	}
	return proc.Name(os.Getppid())
}
