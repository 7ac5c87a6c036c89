// Package secureenv reads the environment. All code of this module that heeds a variable asks here,
// so that it heeds no variable of a stranger: the caller of a process that has more rights than he
// (privilege.IsSetuid) has made its environment.
//
// Such a process loses these variables before main, so that nothing that it executes heeds them. It
// may execute itself after setuid(2), and then no longer sees who has made them.
package secureenv

import (
	"os"
	"strings"

	"example.com/lifecycle/internal/privilege"
)

// Variable is one that is read, and what becomes of it in a process with more rights than its caller.
type Variable struct {
	Name string
	Use  string // what it is read for
	Rule Rule
}

// Rule is what becomes of a variable in a process with more rights than its caller.
type Rule string

// The rules.
const (
	Removed Rule = "removed before `main`; heeded in a worker whose supervisor has proved itself"
	Proved  Rule = "heeded if the kernel says that the same effective user and group have made " +
		"the socket that it names; never if the rights are capabilities of the file"
	Kept     Rule = "heeded: it changes only what a terminal shows"
	Replaced Rule = "replaced by `" + Path + "` before `main`"
	NoFile   Rule = "removed before `main` if it names a file: that would be opened"
)

// Path is the PATH of a process with more rights than its caller.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Variables are all that are read. One that is not among them is never heeded.
var Variables = []Variable{
	{"NOTIFY_SOCKET", "where a service manager hears sd_notify, and is handed sockets", Removed},
	{"FDSTORE", "how many sockets the manager stores", Removed},
	{"WATCHDOG_USEC", "how long the manager waits for a sign of life", Removed},
	{"WATCHDOG_PID", "for which process that is", Removed},
	{"LISTEN_FDS", "how many sockets are passed", Removed},
	{"LISTEN_FDNAMES", "what they are called", Removed},
	{"LISTEN_PID", "for which process they are", Removed},
	{"LISTEN_PIDFDID", "the same, and only removed", Removed},
	{"READY_FD", "the descriptor that is told of ready", Removed},
	{"JOURNAL_STREAM", "whether stderr is the journal", Removed},
	{"_LIFECYCLE_STAGE", "the socket of the launcher", Proved},
	{"_LIFECYCLE_WORKER", "the socket of the supervisor", Proved},
	{"_GO_DAEMON", "go-daemon's own mark, read behind `_LIFECYCLE_STAGE` only", Proved},
	{"TERM", "whether the terminal obeys escape codes", Kept},
	{"NO_COLOR", "whether colours are unwanted", Kept},
	{"PATH", "where `Program` and what hooks execute is looked for", Replaced},
	{"TZ", "read by package time: the time zone of the log", NoFile},
}

// Unsecure are the names that ld.so(8) removes from the environment of a setuid program. A static
// program has no ld.so, and what it executes after setuid(0) would heed them. "*" is any rest.
var Unsecure = []string{
	"GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LD_*", "LOCALDOMAIN", "LOCPATH", "MALLOC_*",
	"NIS_PATH", "NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TMPDIR", "TZDIR",
}

// withheld are the variables with the rule Removed that a stranger may have set.
var withheld = secure()

// secure makes the environment safe for what follows, and returns what it has taken out that can be given back.
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

// namesFile reports whether TZ names a file that is not below the directory of the time zones.
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

// Get returns the value of a variable, "" if it is not to be heeded.
func Get(name string) string {
	if ruleOf(name) == "" {
		return ""
	}
	return os.Getenv(name)
}

// Take returns the value of a variable as Get does, and removes it: it is not for what this process executes.
func Take(name string) string {
	value := Get(name)
	os.Unsetenv(name)
	return value
}

// Believe puts back what was removed. It is for a process whose parent has proved to be no stranger.
func Believe() {
	for name, value := range withheld {
		os.Setenv(name, value)
	}
	withheld = nil
}
