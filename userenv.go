package lifecycle

import (
	"cmp"
	"os"
	"slices"
	"strings"
)

// environment is what a login of that user has in its environment, nil if the user database does not know the user.
func (r *credentials) environment() []string {
	if r == nil || r.Name == "" {
		return nil
	}
	return []string{"HOME=" + r.Home, "USER=" + r.Name, "LOGNAME=" + r.Name, "SHELL=" + cmp.Or(r.Shell, "/bin/sh")} // passwd(5)
}

// foreignVariables returns the names of the variables that a life takes off with its user: they lead to the session, the keys and the mail of
// the user who has started it, or tell who that was. Every other variable goes on; what nobody else may know belongs into no environment.
func (c *config) foreignVariables() (names []string) {
	if !c.changesUser() {
		return nil
	}
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); isOfSession(name) {
			names = append(names, name)
		}
	}
	return names
}

func isOfSession(name string) bool {
	for _, prefix := range []string{"SUDO_", "SSH_", "DBUS_", "XDG_SESSION_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains([]string{
		"XDG_RUNTIME_DIR", "XDG_SEAT", "XDG_VTNR", "XAUTHORITY", "GPG_AGENT_INFO", "MAIL", "DOAS_USER", "PKEXEC_UID",
	}, name)
}

// takeEnvironment makes the environment that of the role. It is asked for the foreign variables before the user has changed.
func (r *credentials) takeEnvironment(foreign []string) {
	for _, name := range foreign {
		os.Unsetenv(name)
	}
	for _, variable := range r.environment() {
		name, value, _ := strings.Cut(variable, "=")
		os.Setenv(name, value)
	}
}
