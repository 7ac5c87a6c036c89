// Package secureenv reads the environment. All code of this module reads variables through this
// package. Therefore the module trusts no variable of an untrusted caller. A caller is untrusted if
// the process has more rights than the caller (privilege.IsSetuid).
//
// The package removes or replaces the variables of an untrusted caller before main. Therefore no
// executed program uses them. The process may execute itself after setuid(2), and can then no
// longer detect that its caller was untrusted.
package secureenv

import (
	"os"
	"strings"

	"example.com/lifecycle/internal/sys/privilege"
)

// Variable is a variable that this module reads, and its rule.
type Variable struct {
	Name string
	Use  string // purpose of the variable
	Rule Rule
}

// Rule determines what happens to a variable in a process with more rights than its caller.
type Rule string

const (
	Removed  Rule = "removed before `main`; restored after proof, see below"
	Proved   Rule = "accepted only after proof, see below"
	Kept     Rule = "read: it changes only what a terminal shows"
	Replaced Rule = "replaced by `" + Path + "` before `main`"
	NoFile   Rule = "removed before `main` if it names a file, because package time would open it"
)

// Path is the PATH of a process with more rights than its caller.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Variables lists all variables that this module reads. It uses no other variable.
var Variables = []Variable{
	{"NOTIFY_SOCKET", "the socket of the service manager, for sd_notify and stored sockets", Removed},
	{"FDSTORE", "the number of sockets that the manager stores", Removed},
	{"WATCHDOG_USEC", "how long the manager waits for a sign of life", Removed},
	{"WATCHDOG_PID", "the process that `WATCHDOG_USEC` is for", Removed},
	{"LISTEN_FDS", "the number of passed sockets", Removed},
	{"LISTEN_FDNAMES", "the names of the passed sockets", Removed},
	{"LISTEN_PID", "the process that the sockets are for", Removed},
	{"LISTEN_PIDFDID", "nothing: the library only removes it", Removed},
	{"READY_FD", "the descriptor for the readiness notification", Removed},
	{"INVOCATION_ID", "whether systemd has started the service", Removed},
	{"SYSTEMD_EXEC_PID", "the process that systemd has started", Removed},
	{"SUPERVISOR_ENABLED", "whether supervisord has started the process", Removed},
	{"SUPERVISOR_GROUP_NAME", "the group of the process in supervisord", Removed},
	{"SUPERVISOR_PROCESS_NAME", "the name of the process in supervisord", Removed},
	{"JOURNAL_STREAM", "whether stderr is the journal", Removed},
	{"_LIFECYCLE_STAGE", "the socket of the launcher", Proved},
	{"_LIFECYCLE_WORKER", "the socket of the supervisor", Proved},
	{"_LIFECYCLE_TAKEOVER", "the state of the program that was executed before in this process", Proved},
	{"_GO_DAEMON", "whether go-daemon started the process; used only if `_LIFECYCLE_STAGE` is accepted", Proved},
	{"TERM", "whether the terminal obeys escape codes", Kept},
	{"NO_COLOR", "whether colours are unwanted", Kept},
	{"PATH", "the directories in which `Program` and hooks look up programs", Replaced},
	{"TZ", "read by package time: the time zone of the log", NoFile},
}

// Unsecure lists the names that ld.so(8) removes from the environment of a setuid program. A static
// program does not use ld.so. Programs that it executes after setuid(0) would use these variables.
// "*" represents any suffix.
var Unsecure = []string{
	"GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LD_*", "LOCALDOMAIN", "LOCPATH", "MALLOC_*",
	"NIS_PATH", "NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TMPDIR", "TZDIR",
}

// withheld contains the removed variables of an untrusted caller that [Believe] can restore.
var withheld = secure()

// secure makes the environment safe. It returns the removed variables that [Believe] can restore.
func secure() map[string]string {
	if !privilege.IsSetuid() {
		return nil
	}
	removed := map[string]string{}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		switch rule := ruleOf(name); {
		case rule == Removed:
			removed[name] = value
			os.Unsetenv(name)
		case rule == Replaced:
			os.Setenv(name, Path)
		case rule == NoFile && namesFile(value), isUnsecure(name):
			os.Unsetenv(name)
		}
	}
	return removed
}

func ruleOf(name string) Rule {
	for _, v := range Variables {
		if v.Name == name {
			return v.Rule
		}
	}
	return ""
}

// namesFile reports whether TZ names a file outside of the time zone directory.
func namesFile(zone string) bool {
	zone = strings.TrimPrefix(zone, ":")
	return strings.HasPrefix(zone, "/") || strings.Contains(zone, "..")
}

func isUnsecure(name string) bool {
	for _, pattern := range Unsecure {
		prefix, open := strings.CutSuffix(pattern, "*")
		if name == pattern || open && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// Get returns the value of a variable, or "" if the variable is not in Variables.
func Get(name string) string {
	if ruleOf(name) == "" {
		return ""
	}
	return os.Getenv(name)
}

// Take returns the value of a variable, as Get does, and removes the variable. Programs that this
// process executes do not inherit it.
func Take(name string) string {
	value := Get(name)
	os.Unsetenv(name)
	return value
}

// Believe restores the removed variables. Call it when the parent of this process has proved that
// it can be trusted.
func Believe() {
	for name, value := range withheld {
		os.Setenv(name, value)
	}
	withheld = nil
}
