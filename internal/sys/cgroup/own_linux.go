package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is the group of this process.
type tree struct {
	root *os.Root // its directory
	path string   // as in /proc/PID/cgroup
}

// noGroup is the text of the error if the system has no control groups that this package can use.
const noGroup = "no control group of version 2 is available"

func own() (*Tree, error) {
	path, err := pathOf("self")
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	dir, isTop := directory(string(mounts), path)
	if dir == "" {
		return nil, errors.New(noGroup)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	t := &Tree{tree{root: root, path: path}}
	if err := t.mayDivide(isTop && os.Getpid() == 1); err != nil {
		root.Close()
		return nil, err
	}
	return t, nil
}

// pathOf returns the path of the group of a process below the root of the cgroup namespace.
func pathOf(pid string) (path string, err error) {
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); found {
			return path, nil
		}
	}
	return "", errors.New(noGroup)
}

// directory returns the directory at which a group is mounted, according to mountinfo
// (proc_pid_mountinfo(5)). It returns "" if the group is not mounted. isTop reports whether the
// group is the root of a mount and of the cgroup namespace.
func directory(mounts, path string) (dir string, isTop bool) {
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if kind, _, _ := strings.Cut(after, " "); kind != "cgroup2" || len(fields) < 6 {
			continue
		}
		root, point := unescape(fields[3]), unescape(fields[4])
		if isOutside(root) || isOutside(path) {
			continue
		}
		below, err := filepath.Rel(root, path)
		if err == nil && below != ".." && !strings.HasPrefix(below, "../") {
			return filepath.Join(point, below), root == "/" && path == "/"
		}
	}
	return "", false
}

// isOutside reports whether a path leads out of the cgroup namespace (cgroup_namespaces(7)).
func isOutside(path string) bool { return strings.HasPrefix(path+"/", "/../") }

// unescape replaces the octal numbers that mountinfo uses for some characters.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// mayDivide returns an error unless the group was delegated to this process.
func (t *tree) mayDivide(isProcess1 bool) error {
	dir, err := t.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return errors.New(noGroup)
	}
	// The root of all groups has no cgroup.type. The root of a cgroup namespace has one.
	kind, err := t.root.ReadFile("cgroup.type")
	if err != nil || strings.TrimSpace(string(kind)) != "domain" {
		return errors.New("the control group is the root group of the machine, or contains threads of other processes")
	}
	pids, err := processes(t.root)
	switch {
	case err != nil:
		return err
	case !slices.Contains(pids, os.Getpid()):
		return errors.New("the mounted control group is not the group of this process")
	case isDelegated(int(dir.Fd())):
	case !isProcess1:
		return errors.New("the control group was not delegated to this process")
	case slices.Contains(pids, 0): // PID 0 is a process outside of this PID namespace
		return errors.New("the control group contains processes outside this PID namespace")
	}
	for _, file := range []string{"cpu.max", "memory.max", "memory.high"} {
		if text, err := t.root.ReadFile(file); err == nil && isLimit(string(text)) {
			return fmt.Errorf("the control group has a limit that a program in a subgroup does not see: %s", file)
		}
	}
	return nil
}

// isDelegated reads the attribute that only root can set. If it is missing, isDelegated reads the
// attribute that the owner of the group can set, as systemd itself does.
func isDelegated(fd int) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		value := make([]byte, 8)
		n, err := unix.Fgetxattr(fd, name, value)
		if err == nil {
			return string(value[:n]) == "1"
		}
	}
	return false
}

func isLimit(text string) bool { return !strings.HasPrefix(text, "max") }
