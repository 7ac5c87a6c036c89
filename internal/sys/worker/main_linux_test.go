package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/lifecycle/internal/sys/activation"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The tests start this binary again as a supervisor, which starts the worker. So a test can kill
// the supervisor. Both report on one pipe what they see.

// child selects what a process that a test starts does instead of the tests: "supervise", "forge",
// or "plain" for none of these.
const child = "WORKER_TEST_CHILD"

// slow names a FIFO. A process with this variable blocks before the init of this package until the
// other end is opened.
const slow = "WORKER_TEST_SLOW"

var _ = holdUp()

func holdUp() error {
	path := os.Getenv(slow)
	if path == "" || os.Getenv(markVariable) == "" {
		return nil
	}
	f, err := os.Open(path)
	if err == nil {
		err = f.Close()
	}
	return err
}

func TestMain(m *testing.M) {
	what := os.Getenv(child)
	if what == "" {
		if Inherited() != nil {
			os.Exit(98) // or it would run the tests
		}
		os.Exit(m.Run())
	}
	time.AfterFunc(30*time.Second, func() { os.Exit(99) })
	switch in := Inherited(); {
	case in != nil:
		work(in)
	case what == "supervise":
		supervise()
	case what == "trace":
		pid, _ := strconv.Atoi(os.Args[1])
		traces(pid)
	case what == "forge":
		forge(os.Args[1], os.Args[2], os.Args[3])
	default:
		fmt.Println("plain, and the mark is", strconv.Quote(os.Getenv(markVariable)))
	}
	os.Exit(0)
}

// testOrder is a Spec that goes through JSON, with further orders to the supervisor.
type testOrder struct {
	Spec
	Note   string
	Size   int      // of a long note
	Files  []string // as sockets, with their base names
	Binary string   // "removed" or "replaced" before the start
	Thread string   // "ends": a thread that ends requests the start
	// Before is "together": eight workers at once; "many": workers come and go; "limit": no further
	// process can be created.
	Before string
}

func supervise() {
	var o testOrder
	if err := json.Unmarshal([]byte(os.Args[1]), &o); err != nil {
		panic(err)
	}
	ignored, blocked := signals()
	fmt.Println("ignored and blocked:", ignored, blocked)
	o.Spec.Note = o.Note + strings.Repeat("x", o.Size)
	for _, path := range o.Files {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			panic(err)
		}
		o.Sockets = append(o.Sockets, activation.Socket{Name: filepath.Base(path), File: f})
	}
	self, _ := os.Executable()
	switch o.Binary {
	case "replaced":
		_ = os.Remove(self)
		_ = os.WriteFile(self, []byte("#!/bin/sh\necho replaced\n"), 0o755)
	case "removed":
		_ = os.Remove(self)
	}
	switch o.Before {
	case "together":
		together(o.Spec)
	case "many", "limit":
		comeAndGo(o.Spec)
	}
	if o.Before == "limit" {
		_ = unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{})
	}
	p, err := startOn(o.Spec, o.Thread)
	if err == nil {
		err = executed(p)
	}
	if err != nil {
		report("error", failed{err.Error(), newStageError(err).Errno, noChildren()})
		os.Exit(1)
	}
	fmt.Println("pid", p.PID)
	go obey(p)
	state, err := p.Wait()
	fmt.Println("ended:", state, err, p.Signal(syscall.SIGTERM))
	fmt.Print(p.Output())
	p.Close()
}

// executed waits until the program was executed, or is no more.
func executed(p *Process) error {
	err := p.Executed(context.Background())
	if err != nil {
		_, _ = p.Wait()
	}
	return err
}

// startOn starts the worker from a thread that has ended when it returns, or from any.
func startOn(o Spec, thread string) (p *Process, err error) {
	if thread != "ends" {
		return Start(o)
	}
	tid := make(chan int)
	var begin func()
	begin = func() {
		runtime.LockOSThread() // and no unlock: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			go begin() // the Go runtime never ends the first thread, so keep it occupied
			select {}
		}
		p, err = Start(o)
		tid <- unix.Gettid()
	}
	go begin()
	path := fmt.Sprintf("/proc/self/task/%d", <-tid)
	for _, statErr := os.Stat(path); statErr == nil; _, statErr = os.Stat(path) {
		time.Sleep(time.Millisecond)
	}
	return p, err
}

// together starts eight workers at the same time, and waits for them.
func together(o Spec) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			p, err := Start(o)
			if err != nil {
				panic(err)
			}
			_, _ = p.Wait()
			p.Close()
		})
	}
	all.Wait()
}

// comeAndGo starts the worker again and again, and a program that there is not.
func comeAndGo(o Spec) {
	opened := func() string {
		goroutines := runtime.NumGoroutine()
		entries, _ := os.ReadDir("/proc/self/fd")
		return fmt.Sprint(len(entries), " descriptors, ", goroutines, " goroutines, no children: ", noChildren())
	}
	round := func() {
		p, err := Start(o)
		if err != nil {
			panic(err)
		}
		_, _ = p.Wait()
		p.Close()
		missing := o
		missing.Program = "/no/such/program"
		if p, err = Start(missing); err != nil {
			panic(err)
		}
		if err := executed(p); err == nil {
			panic("there is such a program")
		}
	}
	await := func(reached func() bool) {
		for deadline := time.Now().Add(10 * time.Second); !reached() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	alone := runtime.NumGoroutine()
	round()
	await(func() bool { return runtime.NumGoroutine() <= alone+1 }) // one forks, for good
	before := opened()
	for range 20 {
		round()
	}
	await(func() bool { return opened() == before })
	fmt.Println("before:", before)
	fmt.Println("after:", opened())
}

// failed is how Start has.
type failed struct {
	Text       string
	Errno      syscall.Errno
	NoChildren bool
}

func noChildren() bool {
	_, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
	return err == syscall.ECHILD
}

// obey follows the commands of the test.
func obey(p *Process) {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "close":
			p.Close()
		case "term":
			fmt.Println("signalled:", p.Signal(syscall.SIGTERM))
		}
	}
}

func report(what string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n", what, text)
}

// looks are what a worker sees of itself.
type looks struct {
	Note, Args, Comm, Dir string
	PID, Parent, Group    int
	Env                   []string
	Open                  map[int]string // from descriptor 3 on, without those of the Go runtime
	Inherited             []int          // by a program that it executes, from descriptor 3 on
	Ignored, Blocked      string
}

func look(in *Handoff) (l looks) {
	comm, _ := os.ReadFile("/proc/self/comm")
	dir, _ := os.Getwd()
	group, _ := syscall.Getpgid(0)
	l = looks{
		Note: string(in.Note), Args: strings.Join(os.Args, " "), Comm: strings.TrimSpace(string(comm)), Dir: dir,
		PID: os.Getpid(), Parent: os.Getppid(), Group: group, Env: told(os.Environ()), Open: map[int]string{},
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, entry := range entries {
		fd, _ := strconv.Atoi(entry.Name())
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || fd < firstSocket {
			continue
		}
		if path, _ := os.Readlink("/proc/self/fd/" + entry.Name()); !strings.HasPrefix(path, "anon_inode:") {
			l.Open[fd] = path
		}
		if flags&unix.FD_CLOEXEC == 0 {
			l.Inherited = append(l.Inherited, fd)
		}
	}
	l.Ignored, l.Blocked = signals()
	return l
}

// told returns the variables of an environment that a service manager sets for the worker, and
// variables that could be mistaken for them.
func told(env []string) (told []string) {
	for _, variable := range env {
		name := nameOf(variable)
		for _, prefix := range []string{"NOTIFY_", "FDSTORE", "WATCHDOG_", "LISTEN_", "_LIFECYCLE", "=", "TWICE", "HOME", "USER"} {
			if strings.HasPrefix(name+"=", prefix) {
				told = append(told, variable)
			}
		}
	}
	slices.Sort(told)
	return told
}

// signals are those that this process ignores, and that its first thread has blocked.
func signals() (ignored, blocked string) {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch name {
		case "SigIgn":
			ignored = value
		case "SigBlk":
			blocked = value
		}
	}
	return ignored, blocked
}

// work is the worker. It does what its note requests.
func work(in *Handoff) {
	var note string
	_ = json.Unmarshal(in.Note, &note)
	switch note {
	case "look":
		report("look", look(in))
		os.Exit(3)
	case "wait":
		lost := in.Take()
		fmt.Println("waits")
		<-lost
		fmt.Println("lost", in.Take() == lost)
	case "flood":
		fmt.Println("flooded:", flood())
		<-in.Take()
	case "take nothing":
		fmt.Println("waits")
		select {}
	case "crash":
		if err := in.RedirectCrashOutput(); err != nil {
			fmt.Println(err)
		}
		panic("crashes on purpose")
	case "children":
		out, err := exec.Command("sh", "-c", "ls /proc/self/fd | tr '\n' ' '; env | grep -E '^(_LIFECYCLE|LISTEN_PID)'").CombinedOutput()
		fmt.Printf("children: %q %v\n", out, err)
	case "nothing":
	default:
		fmt.Println("a note of", len(note))
	}
}

// supervisor is a running supervisor.
type supervisor struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string
	heard  []string // that were not asked for yet
	in     *os.File
	worker *os.Process
}

// program is the command of a child.
func program(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), child+"="+what, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// start starts a supervisor. The test kills it at its end.
func startSupervisor(t *testing.T, o testOrder, change ...func(*exec.Cmd)) *supervisor {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	cmd := program(t, "supervise", string(text))
	in, out := pipe(t), pipe(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in.r, out.w, out.w
	for _, c := range change {
		c(cmd)
	}
	require.NoError(t, cmd.Start())
	in.r.Close()
	out.w.Close()
	s := &supervisor{t: t, cmd: cmd, lines: make(chan string, 1000), in: in.w}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(out.r); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		s.kill()
		if s.worker != nil {
			_ = s.worker.Kill()
			_ = s.worker.Release()
		}
		for line := range s.lines { // until all are gone that have the pipe
			s.heard = append(s.heard, line)
		}
		if t.Failed() {
			t.Logf("not asked for: %.2000q", s.heard)
		}
	})
	return s
}

func (s *supervisor) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// line waits for a line with this begin, and returns the rest of it. Two processes write, so other
// lines may come first; they stay.
func (s *supervisor) line(begin string) string {
	s.t.Helper()
	for i := 0; ; i++ {
		if i == len(s.heard) {
			line, more := <-s.lines
			require.True(s.t, more, "there is no line that begins with %q: %q", begin, s.heard)
			s.heard = append(s.heard, line)
		}
		if rest, found := strings.CutPrefix(s.heard[i], begin); found {
			s.heard = slices.Delete(s.heard, i, i+1)
			return strings.TrimSpace(rest)
		}
	}
}

// pid returns the PID of the worker. The test kills the worker at its end.
func (s *supervisor) pid() int {
	s.t.Helper()
	pid, err := strconv.Atoi(s.line("pid "))
	require.NoError(s.t, err)
	if !isOver(pid) {
		s.worker, err = os.FindProcess(pid) // which holds on to it (pidfd_open(2))
		require.NoError(s.t, err)
	}
	return pid
}

func (s *supervisor) say(what string) {
	s.t.Helper()
	_, err := s.in.WriteString(what + "\n")
	require.NoError(s.t, err)
}

func lineOf[T any](s *supervisor, begin string) (value T) {
	s.t.Helper()
	require.NoError(s.t, json.Unmarshal([]byte(s.line(begin)), &value))
	return value
}

type ends struct{ r, w *os.File }

func pipe(t *testing.T) ends {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return ends{r, w}
}

func eventually(t *testing.T, is func() bool, what string, args ...any) {
	t.Helper()
	require.Eventuallyf(t, is, 20*time.Second, time.Millisecond, what, args...)
}

// isOver reports whether a process has ended. It may be a zombie if no process waits for orphans.
func isOver(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	return err != nil || len(fields) == 0 || fields[0] == "Z" || fields[0] == "X"
}

// fifo is one in which a worker is held up until the function is called.
func fifo(t *testing.T) (env string, release func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(path, 0o666))
	return slow + "=" + path, func() {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
	}
}

// written is a file with that text.
func written(t *testing.T, name, text string, mode os.FileMode) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	require.NoError(t, os.Chmod(path, mode))
	return path
}
