package procattr

import (
	"bufio"
	"bytes"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func kept() (what []string) {
	if os.Geteuid() != 0 {
		return nil
	}
	for resource, name := range harmful {
		if now, init, known := hardLimits(resource); known && now < init {
			what = append(what, "a hard limit RLIMIT_"+name)
		}
	}
	if now, init, known := hardLimits(unix.RLIMIT_NOFILE); known && now < min(init, fewFiles) {
		what = append(what, "a hard limit RLIMIT_NOFILE")
	}
	ours, inits := status("/proc/self/status"), status("/proc/1/status")
	for field, name := range map[string]string{"NoNewPrivs": "no_new_privs", "Seccomp": "a seccomp filter"} {
		if len(inits) > 0 && ours[field] != inits[field] {
			what = append(what, name)
		}
	}
	if group := sessionGroup(); group != "" {
		what = append(what, "the control group "+group)
	}
	slices.Sort(what)
	return what
}

func hardLimits(resource int) (now, init uint64, known bool) {
	var limit unix.Rlimit
	err := unix.Prlimit(0, resource, nil, &limit)
	ofInit, known := limitOfInit(resource)
	return limit.Max, ofInit.Max, known && err == nil
}

// status returns the fields of proc_pid_status(5), or nil if the file cannot be read.
func status(path string) map[string]string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}

// sessionGroup returns the control group of this process if it belongs to a login session, else "".
// systemd-logind may end the processes of such a group (logind.conf(5), KillUserProcesses=).
func sessionGroup() string {
	text, _ := os.ReadFile("/proc/self/cgroup")
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if fields := strings.SplitN(lines.Text(), ":", 3); len(fields) == 3 && strings.HasPrefix(fields[2], "/user.slice/") {
			return fields[2]
		}
	}
	return ""
}
