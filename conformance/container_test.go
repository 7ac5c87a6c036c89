//go:build linux

package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// These tests run the image as Docker and Kubernetes would, but without them. The root directory
// contains only the files from the Dockerfile, and is read-only except for /tmp. The user, the
// arguments and the probes come from the files. echod is process 1.

const (
	dockerfile = "../_example/deploy/docker/Dockerfile"
	manifest   = "../_example/deploy/kubernetes/echod.yaml"
)

// instruction returns the text after a pattern in a file, with continued lines joined.
func instruction(t *testing.T, file, pattern string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)` + pattern).FindStringSubmatch(strings.ReplaceAll(string(text), "\\\n", " "))
	require.NotNil(t, found, "%s has no %s", file, pattern)
	return found[1]
}

func words(t *testing.T, list string) (all []string) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(list), &all), "%s", list)
	return all
}

// imageRoot runs the commands of the Dockerfile and returns the root directory of the image.
var imageRoot = sync.OnceValues(func() (dir string, err error) {
	if _, err = programs(); err != nil { // programs sets temp
		return "", err
	}
	dir = filepath.Join(temp, "root-of-image")
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		return "", err
	}
	_, run, _ := strings.Cut(strings.ReplaceAll(string(text), "\\\n", " "), "\nRUN ")
	run, _, _ = strings.Cut(run, "\n")
	cmd := exec.Command("sh", "-ec", "mkdir -p "+dir+"/bin "+dir+"/proc; "+strings.ReplaceAll(run, "/root-of-image", dir))
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", run, err, out)
	}
	return dir, nil
})

// container is a container with echod as process 1.
type container struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *bytes.Buffer // may be read when done is closed
	done chan struct{}
	pid  int // in the PID namespace of the test
	user string
}

// runImage runs the image with these arguments after its entry point.
func runImage(t *testing.T, args ...string) *container {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes containers")
	}
	if out, err := exec.Command("unshare", "--mount", "--pid", "--fork", "true").CombinedOutput(); err != nil {
		t.Skipf("unshare is forbidden here: %s", out)
	}
	root, err := imageRoot()
	require.NoError(t, err)
	// The file replaces a ConfigMap. The kernel chooses a free port.
	config := filepath.Join(t.TempDir(), "echod.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"listen": "127.0.0.1:0"}`), 0o644))
	user := instruction(t, dockerfile, `^USER (.*)$`)
	args = append(words(t, instruction(t, dockerfile, `^ENTRYPOINT (.*)$`)), args...)
	script := `root=$1 config=$2 user=$3; shift 3
mount --bind $root $root && mount -t proc proc $root/proc && mount --bind $config $root/etc/echod/echod.json
mount -t tmpfs -o mode=0777 tmpfs $root/tmp && mount -o remount,bind,ro $root && exec chroot --userspec=$user $root "$@"`
	c := &container{t: t, out: new(bytes.Buffer), done: make(chan struct{}), user: user}
	c.cmd = exec.Command("unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script, "sh", root, config, user}, args...)...)
	c.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	c.cmd.WaitDelay = 5 * time.Second
	require.NoError(t, c.cmd.Start())
	go func() {
		_ = c.cmd.Wait()
		close(c.done)
	}()
	t.Cleanup(func() {
		// Ending unshare is not enough, because a process that changes its user loses
		// PR_SET_PDEATHSIG.
		if pid := childOf(c.cmd.Process.Pid); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = c.cmd.Process.Kill()
		<-c.done
		if t.Failed() {
			t.Logf("%q wrote:\n%s", c.cmd.Args, c.out)
		}
	})
	return c
}

// ready waits until the probe succeeds.
func (c *container) ready(probe []string) {
	c.t.Helper()
	eventually(c.t, func() bool {
		select {
		case <-c.done:
			c.t.Fatal("echod has ended")
		default:
		}
		c.pid = childOf(c.cmd.Process.Pid)
		return c.pid != 0 && c.exec(probe...) == 0
	}, "the probe %q", probe)
}

// exec runs a command in the container, as a probe does, and returns its exit code.
func (c *container) exec(args ...string) int {
	c.t.Helper()
	uid, gid, _ := strings.Cut(c.user, ":")
	cmd := exec.Command("nsenter", append([]string{
		"--target", strconv.Itoa(c.pid), "--mount", "--pid", "--root", "--wd", "--setgid", gid, "--setuid", uid, "--",
	}, args...)...)
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode()
}

// wait waits for the end of the container and returns its exit code.
func (c *container) wait() int {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		c.t.Fatal("echod does not end")
	}
	return c.cmd.ProcessState.ExitCode()
}

func TestTheImageRunsAsProcess1WithoutOtherFiles(t *testing.T) {
	t.Parallel()
	c := runImage(t, words(t, instruction(t, dockerfile, `^CMD (.*)$`))...)
	health := words(t, instruction(t, dockerfile, `^HEALTHCHECK CMD (.*)$`))
	c.ready(health)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^NSpid:.*\s1$`, string(status))
	require.Regexp(t, `(?m)^Uid:\s+65532\s+65532\s`, string(status))
	require.Equal(t, 0, c.exec("/bin/echod", "reload"))
	require.NoError(t, syscall.Kill(c.pid, syscall.SIGTERM))
	require.Equal(t, 0, c.wait())
	require.Regexp(t, `msg=stopping reason="stopped by signal: terminated"`, c.out.String())
}

// A process that process 1 starts in the background ends with process 1.
// Row J1.
func TestAStartAsProcess1IsRefusedWithAdvice(t *testing.T) {
	t.Parallel()
	c := runImage(t, "start")
	require.Equal(t, 1, c.wait())
	require.Contains(t, c.out.String(), "run it in the foreground")
}

func TestAContainerThatCannotStartReportsItsExitCode(t *testing.T) {
	t.Parallel()
	c := runImage(t, "-config", "/no/such/file", "run")
	require.Equal(t, 1, c.wait())
	require.Contains(t, c.out.String(), `level=ERROR msg="OnStart of config failed" err="open /no/such/file: no such file or directory"`)
}

// Kubernetes removes a pod from its services and sends TERM at the same time.
func TestAPodIsNotReadyAfterTERMAndEndsWithinItsGracePeriod(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(manifest)
	require.NoError(t, err)
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		require.YAMLEq(t, document, document)
	}
	require.Equal(t, instruction(t, dockerfile, `^USER (\d+):`), instruction(t, manifest, `runAsUser: (\d+)`))
	grace, err := strconv.Atoi(instruction(t, manifest, `terminationGracePeriodSeconds: (\d+)`))
	require.NoError(t, err)
	readiness := words(t, instruction(t, manifest, `readinessProbe:\s+exec: \{command: (\[.*\])\}`))

	c := runImage(t, words(t, instruction(t, manifest, `args: (\[.*\])`))...)
	c.ready(readiness)
	began := time.Now()
	require.NoError(t, syscall.Kill(c.pid, syscall.SIGTERM))
	eventually(t, func() bool { return c.exec(readiness...) == 150 }, "the probe to fail")
	require.NoError(t, syscall.Kill(c.pid, 0), "echod still answers")
	require.Equal(t, 0, c.wait())
	require.Less(t, time.Since(began), time.Duration(grace)*time.Second)
}
