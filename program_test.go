package lifecycle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The process suites run real programs: this test binary, executed again. Each program is registered in the file that
// uses it, and which one to be comes in an environment variable that TestMain reads before anything else.

const programVariable = "LIFECYCLE_TEST_PROGRAM"

var (
	programs     = map[string]func(args []string) (exitCode int){}
	programsUsed sync.Map
)

// program registers a program. Its value is the name, by which tests start it.
func registerProgram(name string, main func(args []string) (exitCode int)) string {
	if programs[name] != nil {
		panic("two programs named " + name)
	}
	programs[name] = main
	return name
}

func TestMain(m *testing.M) {
	name := os.Getenv(programVariable)
	if InDaemon() && name == "" {
		os.Exit(98) // or it would run the tests, which detach more
	}
	if name != "" { // which stays in the environment, for what detaches itself
		time.AfterFunc(30*time.Second, func() { // whatever a test forgets ends by itself
			fmt.Fprintln(os.Stderr, "the test program", name, "ends: it is 30 s old")
			os.Exit(99)
		})
		os.Exit(programs[name](os.Args[1:]))
	}
	before := slices.Clone(os.Args)
	// They wait for processes most of the time. The command line, which is parsed later, wins.
	_ = flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	temp := ownTemp()
	opened := descriptors()
	code := m.Run()
	if code == 0 && !nothingLeft(temp, opened) {
		code = 1
	}
	os.RemoveAll(temp)
	filtered := slices.ContainsFunc(before, func(arg string) bool {
		return strings.HasPrefix(arg, "-test.run") || strings.HasPrefix(arg, "-test.skip") ||
			strings.HasPrefix(arg, "-test.fuzz") || strings.HasPrefix(arg, "-test.list") || arg == "-test.short=true"
	})
	for name := range programs {
		if _, used := programsUsed.Load(name); !used && !filtered && code == 0 {
			fmt.Fprintln(os.Stderr, "no test uses the program", name)
			code = 1
		}
	}
	os.Exit(code)
}

// ownTemp makes a place for the temporary files of this run. That of root is root's alone to write, and everybody's to enter, whatever TMPDIR
// says: root refuses a PID file in any other, and tests become other users.
func ownTemp() (dir string) {
	parent := ""
	if os.Geteuid() == 0 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "lifecycle-test-")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Setenv("TMPDIR", dir))
	}
	if err != nil {
		panic(err)
	}
	return dir
}

// nothingLeft says whether all is gone that the tests have started, opened and made. A process is known by the temporary directory in its
// environment, where there is a /proc.
func nothingLeft(temp string, opened int) bool {
	var left []string
	look := func() bool {
		left = nil
		environs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range environs {
			text, _ := os.ReadFile(path) // a zombie has none
			if pid := filepath.Base(filepath.Dir(path)); strings.Contains(string(text), temp) && pid != fmt.Sprint(os.Getpid()) {
				args, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
				left = append(left, "process "+pid+": "+strings.ReplaceAll(string(args), "\x00", " "))
			}
		}
		if n := descriptors(); n > opened {
			left = append(left, fmt.Sprintf("%d descriptors, and there were %d", n, opened))
		}
		files, _ := filepath.Glob(filepath.Join(temp, "*"))
		left = append(left, files...)
		return len(left) == 0
	}
	for deadline := time.Now().Add(patienceOfTests); !look(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			fmt.Fprintln(os.Stderr, "the tests have left:\n"+strings.Join(left, "\n"))
			return false
		}
	}
	return true
}

// descriptors is how many this process has open, where there is a /proc. Those of the Go runtime are opened with the first pipe.
func descriptors() int {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	open, _ := os.ReadDir("/proc/self/fd")
	return len(open)
}

// process is a program under test.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  *lines        // stdout and stderr
	done chan struct{} // closed when it has ended and everything it wrote was read
}

// command prepares a registered program: it can be changed before launch.
func command(program string, args ...string) *exec.Cmd {
	programsUsed.Store(program, true)
	cmd := exec.Command(testBinary(), args...)
	cmd.Args[0] = program
	cmd.Env = append(os.Environ(), programVariable+"="+program, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// wrapped is command under another one, such as strace, nohup or unshare.
func wrapped(wrapper []string, program string, args ...string) *exec.Cmd {
	inner := command(program, args...)
	cmd := exec.Command(wrapper[0], slices.Concat(wrapper[1:], []string{inner.Path}, args)...)
	cmd.Env = inner.Env
	return cmd
}

func testBinary() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// launch starts cmd. The test kills it at its end, by PID, if it still runs.
func launch(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, out: &lines{}, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.out
	}
	cmd.WaitDelay = 5 * time.Second // for descriptors that children keep
	require.NoError(t, cmd.Start())
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.done
		requireNoCrash(t, p.out.String())
		if t.Failed() {
			t.Logf("pid %d %v wrote:\n%s", p.pid(), cmd.Args, p.out)
		}
	})
	return p
}

// crash is a line with which the Go runtime or the race detector ends a process.
var crash = regexp.MustCompile(`(?m)^(panic: |fatal error: |WARNING: DATA RACE|unexpected fault address ).*$`)

// requireNoCrash requires that no program has crashed but on purpose.
func requireNoCrash(t *testing.T, out string) {
	t.Helper()
	for _, line := range crash.FindAllString(out, -1) {
		if !strings.Contains(line, "on purpose") {
			t.Errorf("a program has crashed: %s", line)
		}
	}
}

// start launches a registered program.
func start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	return launch(t, command(program, args...))
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(sig))
}

// insist sends TERM again and again until the program has ended.
func (p *process) insist() {
	p.t.Helper()
	eventually(p.t, func() bool {
		select {
		case <-p.done:
			return true
		default:
			_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may end just now
			return false
		}
	}, "pid %d %v to quit", p.pid(), p.cmd.Args)
}

// wait waits for the end and returns the exit code, -1 if it was killed by a signal.
func (p *process) wait() (exitCode int) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patienceOfTests):
		p.t.Fatalf("pid %d %v does not end; it wrote:\n%s", p.pid(), p.cmd.Args, p.out)
	}
	return p.cmd.ProcessState.ExitCode()
}

// await waits until the program has written a line that contains text, n times if n is given.
func (p *process) await(text string, n ...int) {
	p.t.Helper()
	want := cmp.Or(append(n, 1)...)
	eventually(p.t, func() bool {
		select {
		case <-p.done:
			if p.out.count(text) < want {
				p.t.Fatalf("pid %d %v ended (%v) without having written %q %d times:\n%s",
					p.pid(), p.cmd.Args, p.cmd.ProcessState, text, want, p.out)
			}
		default:
		}
		return p.out.count(text) >= want
	}, "%q from pid %d %v", text, p.pid(), p.cmd.Args)
}

// patienceOfTests is when a test gives up waiting. Nothing is ever right or wrong because it took long.
const patienceOfTests = 25 * time.Second

// eventually waits for a condition.
func eventually(t *testing.T, condition func() bool, format string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(patienceOfTests); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for "+format, args...)
		}
	}
}

// result is what a program that has ended wrote and returned.
type result struct {
	stdout, stderr string
	code           int
}

// call runs a registered program to its end.
func callProgram(t *testing.T, program string, args ...string) result {
	t.Helper()
	return runCommand(t, command(program, args...))
}

func runCommand(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr lines
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code := launch(t, cmd).wait()
	return result{stdout.String(), stderr.String(), code}
}

// lines collects what a program writes.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) count(text string) (n int) {
	for line := range strings.Lines(l.String()) {
		if strings.HasSuffix(line, "\n") && strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// index is the position of the first line that contains text, -1 if there is none.
func (l *lines) index(text string) int { return strings.Index(l.String(), text) }

// needs skips the test where this machine lacks something, and fails it where LIFECYCLE_REQUIRE names it: "root", "strace", "unshare", ….
func needs(t *testing.T, things ...string) {
	t.Helper()
	required := strings.Fields(os.Getenv("LIFECYCLE_REQUIRE"))
	for _, thing := range things {
		ok := false
		switch thing {
		case "root":
			ok = os.Geteuid() == 0
		case "linux":
			ok = runtime.GOOS == "linux"
		default:
			_, err := exec.LookPath(thing)
			ok = err == nil
		}
		switch {
		case ok:
		case slices.Contains(required, thing):
			t.Fatalf("this test needs %s, and LIFECYCLE_REQUIRE says that it is here", thing)
		default:
			t.Skipf("this test needs %s, which is not here", thing)
		}
	}
}

// daemon is the program of most tests: a life whose hooks do what its arguments say, and say so on stdout.
//
//	daemon [key=value …] verb
//
// The keys are pidfile, mode, name, log, errorlog, workdir, user, umask, starttimeout, stoptimeout, reloadtimeout, stopdelay, and check, start, reload,
// stop, exit, run, usr2, ready, every, watchdog for what the hook or fn does; see behave; supervise for a policy; see parsePolicy. Without verb it is Run, detached if the key detach is there.
var daemon = registerProgram("daemon", func(args []string) int {
	does := map[string]string{}
	var verbArgs []string
	for _, arg := range args {
		if key, value, found := strings.Cut(arg, "="); found && !strings.HasPrefix(arg, "-") {
			does[key] = value
		} else {
			verbArgs = append(verbArgs, arg)
		}
	}
	opts := []Option{
		Name(cmp.Or(does["name"], "daemon")),
		PIDFile(does["pidfile"]),
		LogFile(does["log"]),
		ErrorLogFile(does["errorlog"]),
		WorkDir(does["workdir"]),
		User(does["user"]),
		Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		OnCheck(behave("OnCheck", does["check"])),
		OnStart(behave("OnStart", does["start"])),
		OnReload(behave("OnReload", does["reload"])),
		OnStop(behave("OnStop", does["stop"])),
		OnExit(behave("OnExit", does["exit"])),
		OnSignal(syscall.SIGUSR2, behave("OnSignal", does["usr2"])),
	}
	for key, option := range map[string]func(time.Duration) Option{
		"starttimeout": StartTimeout, "stoptimeout": StopTimeout, "reloadtimeout": ReloadTimeout, "stopdelay": StopDelay,
	} {
		if d, err := time.ParseDuration(does[key]); err == nil {
			opts = append(opts, option(d))
		}
	}
	if what, ok := does["ready"]; ok {
		opts = append(opts, ReadyWhen(behave("ReadyWhen", what)))
	}
	if what, ok := does["every"]; ok {
		opts = append(opts, Every(10*time.Millisecond, behave("Every", what)))
	}
	var umask int
	if n, _ := fmt.Sscanf(does["umask"], "%o", &umask); n == 1 {
		opts = append(opts, Umask(umask))
	}
	if _, ok := does["detach"]; ok {
		opts = append(opts, Detach())
	}
	var mode os.FileMode
	if n, _ := fmt.Sscanf(does["mode"], "%o", &mode); n == 1 {
		opts = append(opts, PIDFileMode(mode))
	}
	fn := behave("fn", cmp.Or(does["run"], "wait"))
	if policy, ok := does["supervise"]; ok {
		opts = append(opts, Supervise(parsePolicy(policy)))
	}
	if what, ok := does["watchdog"]; ok {
		opts = append(opts, Watchdog(50*time.Millisecond, behave("Watchdog", what)))
	}
	if len(verbArgs) > 0 {
		return Main(verbArgs, fn, opts...)
	}
	err := Run(fn, opts...)
	fmt.Printf("Run returned: %v\n", err)
	return ExitCode(err)
})

// misdeeds are more of what a hook can do; see hooks_linux_test.go.
var misdeeds = map[string]func(){}

// behave is a hook that says "NAME" when it begins and "NAME done" when it returns, and in between:
//
//	(nothing)   returns nil
//	error       returns an error
//	panic       panics
//	goexit      calls runtime.Goexit
//	hang        never returns
//	wait        returns the context's error when it ends
//	until:PATH  returns nil when that file exists, whatever the context
//	exit:N      ends the process
//	cat:PATH    prints the lines of a file
//	children    prints what a program that it starts inherits
//
// or is one of the misdeeds.
func behave(name, what string) func(context.Context) error {
	return func(ctx context.Context) error {
		fmt.Println(name)
		defer fmt.Println(name, "done")
		do, arg, _ := strings.Cut(what, ":")
		switch do {
		case "":
			return nil
		case "error":
			return errors.New(name + " failed on purpose")
		case "panic":
			panic(name + " panics on purpose")
		case "goexit":
			runtime.Goexit()
		case "hang":
			select {}
		case "wait":
			<-ctx.Done()
			return ctx.Err()
		case "until":
			for {
				if _, err := os.Stat(arg); err == nil {
					return nil
				}
				time.Sleep(time.Millisecond)
			}
		case "exit":
			var code int
			fmt.Sscan(arg, &code)
			os.Exit(code)
		case "cat":
			text, err := os.ReadFile(arg)
			fmt.Printf("%s says: %s\n", name, text)
			return err
		case "children":
			cmd := exec.Command("sh", "-c", "echo descriptors: $(ls /proc/self/fd); cat /proc/self/status; env")
			cmd.Stdout = os.Stdout
			return cmd.Run()
		}
		if fault := misdeeds[do]; fault != nil {
			fault()
			return nil
		}
		return fmt.Errorf("no such behaviour: %s", what)
	}
}

// ownName is a name that no other test has, in this run or another: the default places are the same for all.
func ownName(of string) string { return fmt.Sprintf("lifecycle-test-%s-%d", of, os.Getpid()) }

// pidPath is a place for a PID file that nobody else uses.
func pidPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "daemon.pid")
}

// startDaemon starts the program daemon on its own PID file, and waits until it is ready.
func startDaemon(t *testing.T, args ...string) (p *process, pidfile string) {
	t.Helper()
	pidfile = pidPath(t)
	p = start(t, daemon, append([]string{"pidfile=" + pidfile}, args...)...)
	p.await("msg=ready")
	return p, pidfile
}

// long says that the long form of the sweeps, storms and models was asked for, as their make targets do.
func long() bool { return os.Getenv("LIFECYCLE_LONG") != "" }

// seeds are those of the walks of a model, some or many, or the one that LIFECYCLE_SEED names.
func seeds(t *testing.T, some, many uint64) (first, last uint64) {
	t.Helper()
	if given := os.Getenv("LIFECYCLE_SEED"); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
		return seed, seed
	}
	if long() {
		return 1, many
	}
	return 1, some
}
