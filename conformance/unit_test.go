//go:build linux

package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// unit is a service of systemd.
type unit struct {
	*machine
	t      *testing.T
	name   string
	cursor string // end of the journal at the installation; earlier runs are before it
}

// service writes a unit for the test. The test stops and removes the unit at its end. lines are the
// lines of its section Service.
func (m *machine) service(t *testing.T, name string, lines ...string) *unit {
	t.Helper()
	return m.install(t, name+".service", "[Service]\n"+strings.Join(lines, "\n")+"\n")
}

func (m *machine) install(t *testing.T, name, text string) *unit {
	t.Helper()
	m.try("journalctl", "--sync")
	_, cursor, _ := strings.Cut(m.run(t, "journalctl", "--lines=0", "--show-cursor", "--quiet"), "-- cursor: ")
	u := &unit{m, t, name, strings.TrimSpace(cursor)}
	path := "/run/systemd/system/" + strings.Replace(name, "@one.", "@.", 1)
	m.write(t, path, text)
	m.run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", u.show("ActiveState", "SubState", "Result", "StatusText", "ExecMainCode", "ExecMainStatus"), u.journal())
		}
		m.try("systemctl", "kill", "--signal=KILL", name)
		m.try("systemctl", "stop", name)
		m.try("systemctl", "reset-failed", name)
		os.Remove(m.path(path))
	})
	return u
}

// deployed installs a unit of _example/deploy and the configuration for it.
func (m *machine) deployed(t *testing.T, name string) *unit {
	t.Helper()
	text, err := os.ReadFile("../_example/deploy/systemd/" + strings.Replace(name, "@one.", "@.", 1))
	require.NoError(t, err)
	m.configure(t, "hello")
	return m.install(t, name, string(text))
}

// configure writes the configuration of echod.
func (m *machine) configure(t *testing.T, greeting string) {
	t.Helper()
	text, err := os.ReadFile("../_example/deploy/echod.json")
	require.NoError(t, err)
	m.write(t, "/etc/echod/echod.json", strings.Replace(string(text), "hello", greeting, 1))
}

// misconfigure writes a configuration that echod refuses.
func (m *machine) misconfigure(t *testing.T) {
	t.Helper()
	m.write(t, "/etc/echod/echod.json", "{\n\"lisen\": \":8080\"\n}\n")
}

// get sends echod a request, with a client that the machine has.
func (m *machine) get(t *testing.T) string {
	t.Helper()
	out := m.run(t, "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3`)
	_, body, _ := strings.Cut(out, "\r\n\r\n")
	return body
}

// systemctl runs a verb of systemctl on the unit. The verb must succeed.
func (u *unit) systemctl(verb ...string) {
	u.t.Helper()
	u.run(u.t, append(append([]string{"systemctl"}, verb...), u.name)...)
}

// show returns properties of the unit, one value in each line.
func (u *unit) show(properties ...string) string {
	u.t.Helper()
	out := u.run(u.t, "systemctl", "show", "--property="+strings.Join(properties, ","), u.name)
	values := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		values[name] = value
	}
	var lines []string
	for _, property := range properties {
		lines = append(lines, values[property])
	}
	return strings.Join(lines, "\n")
}

// await waits until a property has that value.
func (u *unit) await(property, value string) {
	u.t.Helper()
	eventually(u.t, func() bool { return u.show(property) == value }, "%s=%s of %s", property, value, u.name)
}

func (u *unit) mainPID() string { return u.show("MainPID") }

// entry is an entry of the journal.
type entry struct {
	Priority string `json:"PRIORITY"`
	Message  any    `json:"MESSAGE"`
	PID      string `json:"_PID"`
	By       string `json:"SYSLOG_IDENTIFIER"`
}

// journal returns the entries of the unit, and of systemd about the unit, as "priority identifier:
// message".
func (u *unit) journal() string {
	u.t.Helper()
	u.try("journalctl", "--sync")
	out := u.run(u.t, "journalctl", "--unit="+u.name, "--after-cursor="+u.cursor, "--output=json", "--no-pager")
	var text strings.Builder
	for line := range strings.Lines(out) {
		var e entry
		if json.Unmarshal([]byte(line), &e) == nil {
			fmt.Fprintf(&text, "%s %s: %v\n", e.Priority, e.By, e.Message)
		}
	}
	return text.String()
}

// processes returns the PIDs in the cgroup of the unit.
func (u *unit) processes() (pids []string) {
	u.t.Helper()
	group := u.show("ControlGroup")
	if group == "" {
		return nil
	}
	// The file is read there, because its PIDs must be those of the container.
	text, _ := u.try("cat", "/sys/fs/cgroup"+group+"/cgroup.procs")
	return strings.Fields(text)
}
