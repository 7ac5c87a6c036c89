package takeover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/filelock"
)

// talker is a process that obeys lines of the test.
type talker struct {
	*proctest.Process
	t    *testing.T
	in   io.Writer
	read int // lines of its output that line has returned
}

func talk(t *testing.T, cmd *exec.Cmd) *talker {
	t.Helper()
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	return &talker{Process: proctest.Launch(t, cmd), t: t, in: in}
}

func (k *talker) say(what string) {
	k.t.Helper()
	_, err := io.WriteString(k.in, what+"\n")
	require.NoError(k.t, err)
}

// next waits for the next line that begins with this text, and returns the rest of the line.
func (k *talker) next(begin string) (rest string) {
	k.t.Helper()
	proctest.Eventually(k.t, func() bool {
		lines := strings.SplitAfter(k.Out.String(), "\n")
		for i := k.read; i < len(lines) && strings.HasSuffix(lines[i], "\n"); i++ {
			if after, found := strings.CutPrefix(lines[i], begin); found {
				rest, k.read = strings.TrimSpace(after), i+1
				return true
			}
		}
		return false
	}, "a line %q", begin)
	return rest
}

func (k *talker) looks() (l looks) {
	k.t.Helper()
	require.NoError(k.t, json.Unmarshal([]byte(k.next("looks ")), &l))
	return l
}

// copyOf returns the path of a copy of the test binary. Another process makes the copy, because a
// program that another test starts could inherit the file open for writing.
func copyOf(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "another")
	require.NoError(t, exec.Command("cp", proctest.Binary(), path).Run())
	return path
}

func TestTheNewProgramKeepsTheProcessAndItsResources(t *testing.T) {
	t.Parallel()
	path, lockPath := copyOf(t), filepath.Join(t.TempDir(), "lock")
	k := talk(t, proctest.Command(holder, path, lockPath))
	before := k.looks()
	require.Equal(t, proctest.Binary(), before.Exe)

	// Another process tries to lock the file, and inspects it, all the time.
	f, err := os.OpenFile(lockPath, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	var tries atomic.Int64
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-end:
				ended <- nil
				return
			default:
			}
			tries.Add(1)
			if err := filelock.TryLock(f); !errors.Is(err, filelock.ErrHeld) {
				ended <- fmt.Errorf("the lock was free: %w", err)
				return
			}
			state, err := filelock.Inspect(f)
			if want := (filelock.State{Held: true, Present: true, Owned: true, PID: k.PID()}); state != want || err != nil {
				ended <- fmt.Errorf("the marks were %+v, %w", state, err)
				return
			}
		}
	}()

	for round := range 5 {
		k.say(fmt.Sprintf("send message %d", round))
		k.say(fmt.Sprintf("execute %d", round))
		now := k.looks()
		require.Len(t, now.Open, 5)
		if round == 0 {
			before.Open = now.Open
		}
		require.Equal(t, looks{
			PID: k.PID(), Exe: path, Dir: filepath.Dir(path), Args: fmt.Sprintf("a name %s %s %d", path, lockPath, round), Comm: "another",
			Names: []string{lockPath, "read \xef\xbf\xbd", "write", "read \xef\xbf\xbd", "write"},
			Open:  before.Open, Blocked: now.Blocked, Ignored: before.Ignored, Limit: before.Limit,
		}, now)
		k.say("read")
		require.Equal(t, fmt.Sprintf("message %d message %[1]d", round), k.next("read"))
	}
	already := tries.Load()
	proctest.Eventually(t, func() bool { return tries.Load() > already+10 || len(ended) > 0 }, "more tries")
	close(end)
	require.NoError(t, <-ended)

	// The child ends while the program is executed.
	k.say("execute again")
	endChild(t, lockPath)
	k.looks()
	k.say("wait")
	require.Equal(t, "true 7 <nil>", k.next("waited"))
}

// endChild lets the child of a holder end. The pipe stays open until the end of the test.
func endChild(t *testing.T, lockPath string) {
	t.Helper()
	fifo, err := os.OpenFile(lockPath+".fifo", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { fifo.Close() })
	_, err = fifo.WriteString("x\n")
	require.NoError(t, err)
}

func TestTheSameLoaderExecutesTheNewProgram(t *testing.T) {
	t.Parallel()
	loader := proctest.Loader(t)
	path, lockPath := copyOf(t), filepath.Join(t.TempDir(), "lock")
	k := talk(t, proctest.Wrapped([]string{loader}, holder, path, lockPath))
	before := k.looks()
	defer endChild(t, lockPath)
	k.say("execute x")
	now := k.looks()
	require.Equal(t, before.Exe, now.Exe, "the loader")
	require.Equal(t, loader+" "+path+" "+path+" "+lockPath+" x", now.Args)
}

// Of the signals of a daemon, the Go runtime unblocks HUP, INT and TERM in every thread. This test
// fails if a later version of Go changes what package takeover builds on.
func TestTheRuntimeLeavesOnlyUSR1AndUSR2Blocked(t *testing.T) {
	t.Parallel()
	cmd := proctest.Command(masks)
	blockAll(t, func() { talk(t, cmd).Wait() })
	out := cmd.Stdout.(*proctest.Lines).String()
	require.Contains(t, out, `start {"SIGUSR1+SIGUSR2":true}`+"\n")
	require.Contains(t, out, `notified {"":true,"SIGUSR1+SIGUSR2":true}`+"\n", "none in the thread of package signal")
	require.Contains(t, out, `stopped {"SIGUSR1+SIGUSR2":true}`+"\n")
}

// blockAll calls start in a thread that blocks the signals of a daemon.
func blockAll(t *testing.T, start func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var blocked, before unix.Sigset_t
	for _, sig := range daemonSignals {
		blocked.Val[0] |= 1 << (sig.(syscall.Signal) - 1)
	}
	require.NoError(t, unix.PthreadSigmask(unix.SIG_BLOCK, &blocked, &before))
	defer func() { require.NoError(t, unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)) }()
	start()
}

// The sender counts: after each signal it waits until the process has reported it.
func TestNoUSR1AndNoUSR2IsLost(t *testing.T) {
	t.Parallel()
	k := talk(t, proctest.Command(spinner, strconv.Itoa(proctest.Rounds(100, 300, 3000))))
	k.Await("executed") // by this package
	sent := 0
	for !strings.Contains(k.Out.String(), "done") {
		sent++
		k.Signal(unix.SIGUSR1)
		k.Signal(unix.SIGUSR2)
		k.Await("got user defined signal 1", sent)
		k.Await("got user defined signal 2", sent)
	}
	require.Greater(t, sent, 20, "or this test shows nothing")
	k.Signal(unix.SIGTERM)
	require.Zero(t, k.Wait())
}

func TestHUPDoesNotEndTheProcess(t *testing.T) {
	t.Parallel()
	k := talk(t, proctest.Command(spinner, strconv.Itoa(proctest.Rounds(100, 300, 3000))))
	k.Await("begun")
	sent := 0
	for !strings.Contains(k.Out.String(), "done") {
		sent++
		k.Signal(unix.SIGHUP)
		time.Sleep(50 * time.Microsecond) // the process must also have time for other work
	}
	t.Logf("%d of %d HUP arrived", k.Out.Count("got hangup"), sent)
	require.Greater(t, k.Out.Count("got hangup"), 10)
	k.Signal(unix.SIGTERM)
	require.Zero(t, k.Wait())
}

// INT and TERM end the process if no program can catch them: a stop is never lost.
func TestTERMIsCaughtOrEndsTheProcess(t *testing.T) {
	t.Parallel()
	byProgram, byKernel := 0, 0
	for i := range proctest.Rounds(20, 50, 1000) {
		k := talk(t, proctest.Command(spinner, "1000000"))
		k.Await("executed")
		deadline := time.Now().Add(time.Duration(i*137%5000) * time.Microsecond)
		for time.Now().Before(deadline) {
			runtime.Gosched()
		}
		k.Signal(unix.SIGTERM)
		proctest.Eventually(t, func() bool {
			select {
			case <-k.Done:
				return true
			default:
				return false
			}
		}, "the end")
		if k.Wait() == 0 {
			byProgram++
			k.Await("got terminated")
		} else {
			byKernel++
			require.Equal(t, unix.SIGTERM, k.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
		}
	}
	t.Logf("TERM was caught %d times, and ended the process %d times", byProgram, byKernel)
}

func TestAFailedExecuteChangesNothing(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte("no program\n"), 0o755))
	file, err := os.Open(text)
	require.NoError(t, err)
	defer file.Close()
	binary := proctest.Binary()
	for what, tt := range map[string]struct {
		spec Spec
		is   error
		text string
	}{
		"missing":          {Spec{Path: "/no/such/program"}, unix.ENOENT, "exec /no/such/program: no such file or directory"},
		"a directory":      {Spec{Path: dir}, unix.EACCES, "exec " + dir + ": permission denied"},
		"text":             {Spec{Path: text}, unix.ENOEXEC, "exec " + text + ": exec format error"},
		"too long":         {Spec{Path: binary, Env: []string{strings.Repeat("x", 1<<20)}}, unix.E2BIG, "exec " + binary + ": argument list too long"},
		"no such place":    {Spec{Path: binary, Dir: "/no/such/directory"}, unix.ENOENT, "chdir /no/such/directory: no such file or directory"},
		"aborted":          {Spec{Path: binary, Abort: func() error { return errArrived }}, errArrived, errArrived.Error()},
		"a relative path":  {Spec{Path: "program"}, nil, `cannot execute "program": the path must be absolute, and the program needs a name`},
		"no state of ours": {Spec{Path: binary, State: func() {}}, nil, "json: unsupported type: func()"},
	} {
		direct(func() {
			before := look()
			tt.spec.Args = []string{"x"}
			tt.spec.Files = []*os.File{file}
			if tt.spec.Dir == "" {
				tt.spec.Dir = "/"
			}
			err := Execute(func(f func()) { f() }, tt.spec)
			require.ErrorContains(t, err, tt.text, what)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is, what)
			}
			require.Equal(t, before, look(), what)
		})
	}
	closed, err := os.Open(text)
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	require.ErrorContains(t, Execute(direct, Spec{Path: binary, Args: []string{"x"}, Files: []*os.File{closed}}), "use of closed file")
}
