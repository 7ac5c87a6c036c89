//go:build linux

package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits before it fails. No result depends on how long something takes.
const patience = 60 * time.Second

// machine is a container. Its files are an overlay on an image. All changes disappear with the
// container.
type machine struct {
	init int           // the PID of its process 1, on this machine
	cmd  *exec.Cmd     // systemd-nspawn
	done chan struct{} // closed when cmd has ended
	out  *bytes.Buffer // may be read when done is closed
}

var (
	systemd = sync.OnceValues(func() (*machine, error) { return boot("systemd", "--boot") })
	openrc  = sync.OnceValues(func() (*machine, error) { return boot("openrc", "sleep", "infinity") })

	toEnd []func()
	temp  string
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, end := range toEnd {
		end()
	}
	if temp != "" {
		os.RemoveAll(temp)
	}
	os.Exit(code)
}

// needMachine returns a container that all tests share, or skips the test.
func needMachine(t *testing.T, kind func() (*machine, error)) *machine {
	t.Helper()
	if os.Getenv("LIFECYCLE_CONFORMANCE") == "" {
		t.Skip(`this test boots a container: "make conformance" makes its image and runs it`)
	}
	m, err := kind()
	require.NoError(t, err)
	return m
}

// programs builds the programs for the machines. It builds them without cgo, because they then need
// no libraries there.
var programs = sync.OnceValues(func() (dir string, err error) {
	if temp, err = os.MkdirTemp("", "lifecycle-conformance-"); err != nil {
		return "", err
	}
	if err := os.Chmod(temp, 0o755); err != nil { // services run as other users
		return "", err
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", temp+"/", "../_example/echod", "./subject", "./upgradable", "../_example/guard")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return temp, nil
})

// boot starts a container from that image. The programs are in /usr/local/bin, and the files of
// _example/deploy in /deploy.
func boot(image string, args ...string) (*machine, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	deploy, err := filepath.Abs("../_example/deploy")
	if err != nil {
		return nil, err
	}
	root := filepath.Join(os.Getenv("LIFECYCLE_CONFORMANCE"), image)
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, err
	}
	nspawn := []string{
		"--directory=" + root, "--volatile=overlay", "--register=no", "--quiet", "--private-network", "--machine=lifecycle-" + image + strconv.Itoa(os.Getpid()),
		"--bind-ro=" + deploy + ":/deploy", "--bind-ro=" + bin + ":/usr/local/bin", "--as-pid2",
	}
	if args[0] == "--boot" {
		nspawn = nspawn[:len(nspawn)-1]
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		// This host has no manager that could make a unit.
		nspawn = append(nspawn, "--keep-unit")
	}
	m := &machine{done: make(chan struct{}), out: new(bytes.Buffer)}
	m.cmd = exec.Command("systemd-nspawn", append(nspawn, args...)...)
	m.cmd.Stdout, m.cmd.Stderr = m.out, m.out
	m.cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // PR_SET_PDEATHSIG is sent when this thread ends
		err := m.cmd.Start()
		started <- err
		if err == nil {
			_ = m.cmd.Wait()
			close(m.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	toEnd = append(toEnd, m.end)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		select {
		case <-m.done:
			return nil, fmt.Errorf("systemd-nspawn has ended:\n%s", m.out)
		default:
		}
		if m.init = childOf(m.cmd.Process.Pid); m.init != 0 && m.isUp(args[0]) {
			return m, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.New("the container does not come up")
		}
	}
}

func (m *machine) isUp(how string) bool {
	if how != "--boot" {
		_, code := m.try("test", "-d", "/deploy")
		return code == 0
	}
	out, _ := m.try("systemctl", "is-system-running")
	return out == "running\n" || out == "degraded\n"
}

func childOf(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	first, _, _ := strings.Cut(string(text), " ")
	child, _ := strconv.Atoi(first)
	return child
}

func (m *machine) end() {
	_ = m.cmd.Process.Signal(syscall.SIGTERM) // nspawn then ends the container
	select {
	case <-m.done:
	case <-time.After(patience):
		_ = m.cmd.Process.Kill()
		<-m.done
	}
}

// try runs a command in the machine.
func (m *machine) try(args ...string) (out string, code int) {
	cmd := exec.Command("nsenter", append([]string{"--target", strconv.Itoa(m.init), "--all", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER="}
	text, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		return err.Error(), -1
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// run runs a command that must succeed.
func (m *machine) run(t *testing.T, args ...string) (out string) {
	t.Helper()
	out, code := m.try(args...)
	require.Zero(t, code, "%s: %s", strings.Join(args, " "), out)
	return out
}

// sh runs a line of shell, which must succeed.
func (m *machine) sh(t *testing.T, line string) (out string) {
	t.Helper()
	return m.run(t, "sh", "-c", line)
}

// exits runs a command that must end with that exit code.
func (m *machine) exits(t *testing.T, code int, args ...string) (out string) {
	t.Helper()
	out, got := m.try(args...)
	require.Equal(t, code, got, "%s: %s", strings.Join(args, " "), out)
	return out
}

// path returns the path of a machine's file on this machine.
func (m *machine) path(path string) string { return fmt.Sprintf("/proc/%d/root%s", m.init, path) }

// dir makes a directory for the test in the machine.
func (m *machine) dir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(m.path("/run"), "test-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	return "/run/" + filepath.Base(dir)
}

func (m *machine) write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(m.path(path)), 0o755))
	require.NoError(t, os.WriteFile(m.path(path), []byte(text), 0o644))
}

func (m *machine) read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(m.path(path))
	require.NoError(t, err)
	return string(text)
}

// eventually waits for a condition.
func eventually(t *testing.T, condition func() bool, format string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for "+format, args...)
		}
	}
}
