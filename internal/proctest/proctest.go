// Package proctest contains what tests of real processes share: a registry of helper programs,
// processes that a test starts and waits for, and checks of the machine.
//
// A test binary is its own daemon. It executes itself again, and an environment variable names the
// program that it runs as:
//
//	func TestMain(m *testing.M) { proctest.Main(m, lifecycle.InDaemon()) }
//
//	var sleeper = proctest.Register("sleeper", func(args []string) int { select {} })
//
//	func TestASleeperIsTerminated(t *testing.T) {
//		p := proctest.Start(t, sleeper)
//		p.Signal(syscall.SIGTERM)
//		require.Equal(t, -1, p.Wait())
//	}
//
// Tests wait for conditions, never for time: see [Eventually] and [Process.Await].
package proctest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Variable is the environment variable that names the program that a test binary runs as.
const Variable = "LIFECYCLE_TEST_PROGRAM"

// lifetime is how long a program may run. Then it exits, even if its test has not ended it.
// lifetime is longer than [Patience].
const lifetime = 90 * time.Second

var (
	programs     = map[string]func(args []string) (exitCode int){}
	programsUsed sync.Map
)

// Register registers a program and returns its name, by which tests start it. A program that no
// test uses fails the run, unless this machine lacks something for a test.
func Register(name string, main func(args []string) (exitCode int)) string {
	if programs[name] != nil {
		panic("two programs named " + name)
	}
	programs[name] = main
	return name
}

// RunAs runs a registered program in this process, and returns its exit code.
func RunAs(name string, args []string) (exitCode int) { return programs[name](args) }

// Use records that a test uses a program without starting it by [Command].
func Use(name string) { programsUsed.Store(name, true) }

// Main is the TestMain of a package whose tests start programs. In a process that was started as a
// program, it runs that program. Otherwise it runs the tests, and fails the run if they leave a
// process, a descriptor or a file. A daemon that was not started as a registered program exits,
// because it would run the tests again.
func Main(m *testing.M, inDaemon bool) {
	name := os.Getenv(Variable)
	switch {
	// The variable stays in the environment, because a program that detaches needs it again.
	case name != "":
		time.AfterFunc(lifetime, func() {
			fmt.Fprintln(os.Stderr, "the test program", name, "ends: it is", lifetime, "old")
			os.Exit(99)
		})
		os.Exit(RunAs(name, os.Args[1:]))
	case inDaemon:
		os.Exit(98)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) (exitCode int) {
	args := slices.Clone(os.Args)
	// Run more tests at the same time than there are processors, because the tests mostly wait for
	// processes. The long forms need the processors more. The command line is parsed later and takes
	// precedence.
	perProcessor := 8
	if os.Getenv("LIFECYCLE_LONG") != "" {
		perProcessor = 2
	}
	_ = flag.Set("test.parallel", strconv.Itoa(perProcessor*runtime.GOMAXPROCS(0)))
	DefaultSignals()
	temp := ownTemp()
	opened := descriptors()
	code := m.Run()
	if code == 0 && !nothingLeft(temp, opened) {
		code = 1
	}
	os.RemoveAll(temp)
	if code == 0 && !filtered(args) && !skipped.Load() && !allUsed() {
		code = 1
	}
	return code
}

// DefaultSignals gives the processes of the tests the default action for HUP and INT, even under
// nohup or in the background of a script. It catches both signals, because a caught signal has its
// default action again after an exec.
func DefaultSignals() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// filtered reports whether the arguments of a test binary select only some of its tests.
func filtered(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return strings.HasPrefix(arg, "-test.run") || strings.HasPrefix(arg, "-test.skip") ||
			strings.HasPrefix(arg, "-test.fuzz") || strings.HasPrefix(arg, "-test.list") || arg == "-test.short=true"
	})
}

// allUsed reports whether tests have used all programs.
func allUsed() bool {
	all := true
	for name := range programs {
		if _, used := programsUsed.Load(name); !used {
			fmt.Fprintln(os.Stderr, "no test uses the program", name)
			all = false
		}
	}
	return all
}

// Assignment returns the environment variable, as NAME=VALUE, that makes the test binary run as the
// program. It is for a test in which another process executes the binary.
func Assignment(program string) string {
	Use(program)
	return Variable + "=" + program
}

// Command returns the command that executes this test binary as a program. The caller may change
// the command before it starts it.
func Command(program string, args ...string) *exec.Cmd {
	Use(program)
	cmd := exec.Command(Binary(), args...)
	cmd.Args[0] = program
	cmd.Env = append(os.Environ(), Variable+"="+program, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// Wrapped is [Command] under another command, such as strace, nohup or unshare.
func Wrapped(wrapper []string, program string, args ...string) *exec.Cmd {
	inner := Command(program, args...)
	cmd := exec.Command(wrapper[0], slices.Concat(wrapper[1:], []string{inner.Path}, args)...)
	cmd.Env = inner.Env
	return cmd
}

// Binary returns the path of this test binary.
func Binary() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}
