//go:build unix

package docs

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
)

// endInBackground makes the end of the test end the daemon at that PID file, if it still runs.
func endInBackground(t *testing.T, pidfile string) {
	t.Cleanup(func() {
		daemon, err := lifecycle.Find(pidfile)
		if err != nil {
			return
		}
		defer daemon.Close()
		ctx, cancel := context.WithTimeout(context.Background(), examplePatience)
		defer cancel()
		assert.NoError(t, daemon.Kill(ctx))
	})
}

// exampleProcess is a started program.
type exampleProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *exampleOutput // stdout and stderr
	exited chan struct{}
}

func prepareExample(t *testing.T, dir, program string, args ...string) *exampleProcess {
	p := &exampleProcess{t: t, cmd: exec.Command(program, args...), out: new(exampleOutput), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // to exit at once
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	return p
}

func startExample(t *testing.T, dir, program string, args ...string) *exampleProcess {
	p := prepareExample(t, dir, program, args...)
	p.start()
	return p
}

func (p *exampleProcess) start() {
	require.NoError(p.t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
}

// wait returns the exit code.
func (p *exampleProcess) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(examplePatience):
		require.Fail(p.t, "does not end", "%v:\n%v", p.cmd.Args, p.out)
	}
	return p.cmd.ProcessState.ExitCode()
}

// waitFor waits until the output matches the pattern, and returns the submatches.
func (p *exampleProcess) waitFor(pattern string) (match []string) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(examplePatience); ; {
		ended := false
		select {
		case <-p.exited:
			ended = true // the output read below is complete
		default:
		}
		if match = re.FindStringSubmatch(p.out.String()); match != nil {
			return match
		}
		require.False(p.t, ended || time.Now().After(deadline), "%v did not say %q but:\n%v", p.cmd.Args, pattern, p.out)
		time.Sleep(2 * time.Millisecond)
	}
}

// exampleOutput collects output. It can be read while a program writes to it.
type exampleOutput struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *exampleOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *exampleOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// exampleGo runs the go command. It builds and tests with the race detector if this test has it.
func exampleGo(t *testing.T, verb string, args ...string) {
	t.Helper()
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		if setting.Key == "-race" && setting.Value == "true" && verb != "vet" {
			args = append([]string{"-race"}, args...)
		}
	}
	out, err := exec.Command("go", append([]string{verb}, args...)...).CombinedOutput()
	require.NoError(t, err, "go %s %s\n%s", verb, strings.Join(args, " "), out)
}

func assertEmptyDir(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}
