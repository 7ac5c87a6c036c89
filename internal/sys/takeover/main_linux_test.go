package takeover

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/filelock"
)

func TestMain(m *testing.M) {
	proctest.Main(m, inherited != nil && os.Getenv(proctest.Variable) == "")
}

// direct runs the function in the thread of its caller, which can be any thread.
func direct(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f()
}

func report(what string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n", what, text)
}

// looks contains what a program reports about its own process.
type looks struct {
	PID                        int
	Exe, Dir, Args, Comm, Mark string
	Names                      []string // of the inherited files
	Open                       []int    // descriptors from 3 on, except those of the Go runtime
	Leaks                      []int    // descriptors that a child would inherit
	Blocked, Ignored           string
	Limit                      uint64
}

func look() (l looks) {
	l.PID = os.Getpid()
	l.Exe, _ = os.Readlink("/proc/self/exe")
	l.Dir, _ = os.Getwd()
	args, _ := os.ReadFile("/proc/self/cmdline")
	l.Args = strings.ReplaceAll(strings.TrimSuffix(string(args), "\x00"), "\x00", " ")
	comm, _ := os.ReadFile("/proc/self/comm")
	l.Comm = strings.TrimSpace(string(comm))
	l.Mark = os.Getenv(markVariable)
	if inherited != nil {
		for _, f := range inherited.Files {
			l.Names = append(l.Names, f.Name())
		}
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, entry := range entries {
		fd, _ := strconv.Atoi(entry.Name())
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		kind, _ := os.Readlink("/proc/self/fd/" + entry.Name())
		if err != nil || fd < firstOther || strings.HasPrefix(kind, "anon_inode:") || strings.HasPrefix(kind, "/proc/") || strings.HasPrefix(kind, "/sys/") {
			continue
		}
		l.Open = append(l.Open, fd)
		if flags&unix.FD_CLOEXEC == 0 {
			l.Leaks = append(l.Leaks, fd)
		}
	}
	status, _ := os.ReadFile("/proc/thread-self/status")
	l.Blocked, l.Ignored = field(status, "SigBlk"), field(status, "SigIgn")
	var limit unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	l.Limit = limit.Cur
	return l
}

func field(status []byte, name string) string {
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, name+":\t"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// await reads one line of stdin.
var stdin = bufio.NewReader(os.Stdin)

func await() string {
	line, err := stdin.ReadString('\n')
	if err != nil {
		os.Exit(3)
	}
	return strings.TrimSpace(line)
}

type holds struct {
	Child int
	Round int
}

// holder holds a lock, a child, and sockets with data. When the test requests it, holder executes
// the program at a path.
var holder = proctest.Register("holder", func(args []string) int {
	path, lockPath := args[0], args[1]
	state := holds{}
	var files []*os.File
	if inherited == nil {
		files, state.Child = begin(lockPath)
	} else {
		must(json.Unmarshal(inherited.State, &state))
		files = inherited.Files
	}
	report("looks", look())
	for {
		switch what, arg, _ := strings.Cut(await(), " "); what {
		case "execute":
			state.Round++
			must(Execute(direct, Spec{
				Path: path, Args: []string{"a name", path, lockPath, arg}, Env: os.Environ(), Dir: filepath.Dir(path), State: state, Files: files,
			}))
		case "send": // to its own sockets
			_, err := files[2].WriteString(arg + "\n")
			must(err)
			_, err = files[4].WriteString(arg)
			must(err)
		case "read":
			stream, err := bufio.NewReader(files[1]).ReadString('\n')
			must(err)
			datagram := make([]byte, 100)
			n, err := files[3].Read(datagram)
			must(err)
			fmt.Println("read", strings.TrimSpace(stream), string(datagram[:n]))
		case "wait":
			var status unix.WaitStatus
			pid, err := unix.Wait4(state.Child, &status, 0, nil)
			fmt.Println("waited", pid == state.Child, status.ExitStatus(), err)
		}
	}
})

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// begin returns the lock file, a pair of streams and a pair of datagram sockets.
func begin(lockPath string) (files []*os.File, child int) {
	must(execve.CloseOnExec(firstOther)) // what the caller of the test has left open
	lock, err := os.OpenFile(lockPath, os.O_RDWR|os.O_CREATE, 0o600)
	must(err)
	must(filelock.TryLock(lock))
	must(filelock.LockPresence(lock))
	must(filelock.LockOwnership(lock))
	files = append(files, lock)
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		must(err)
		files = append(files, os.NewFile(uintptr(fds[0]), "read \xff"), os.NewFile(uintptr(fds[1]), "write"))
	}
	cmd := exec.Command("sh", "-c", "read x <"+lockPath+".fifo; exit 7")
	must(unix.Mkfifo(lockPath+".fifo", 0o600))
	must(cmd.Start())
	return files, cmd.Process.Pid
}

// spinner executes itself again and again. It writes a line for each signal.
var spinner = proctest.Register("spinner", func(args []string) int {
	last, _ := strconv.Atoi(args[0])
	round := 0
	var user, other chan os.Signal
	if inherited != nil {
		must(json.Unmarshal(inherited.State, &round))
		user, other = inherited.Held, inherited.Signals
	} else {
		user, other = catch(held), catch(others)
		fmt.Println("begun")
	}
	switch round {
	case 1:
		fmt.Println("executed")
	case last:
		fmt.Println("done")
	}
	for {
		err := errArrived
		if round != last {
			err = Execute(direct, Spec{
				Path: proctest.Binary(), Args: append([]string{"spinner"}, args...), Env: os.Environ(), State: round + 1, Held: user,
				Abort: func() error {
					if len(user)+len(other) > 0 {
						return errArrived
					}
					return nil
				},
			})
			signal.Notify(user, held...)
		}
		if err != errArrived {
			panic(err)
		}
		select {
		case sig := <-user:
			fmt.Println("got", sig)
		case sig := <-other:
			fmt.Println("got", sig)
			if sig == unix.SIGTERM {
				return 0
			}
		}
	}
})

var errArrived = errors.New("a signal has arrived")

var daemonSignals = slices.Concat(others, held)

// masks writes the signals that each thread blocks.
var masks = proctest.Register("masks", func([]string) int {
	blocked := func(when string) {
		hold := make(chan struct{})
		for range 5 { // more threads
			began := make(chan struct{})
			go func() {
				runtime.LockOSThread()
				close(began)
				<-hold
			}()
			<-began
		}
		seen := blockedByThreads()
		for end := time.Now().Add(10 * time.Second); seen[all] && time.Now().Before(end); seen = blockedByThreads() {
			time.Sleep(time.Millisecond)
		}
		close(hold)
		report(when, seen)
	}
	blocked("start")
	c := make(chan os.Signal, 1)
	signal.Notify(c, daemonSignals...)
	blocked("notified")
	signal.Stop(c)
	blocked("stopped")
	return 0
})

// all are the signals that a new thread blocks for a moment.
const all = "SIGHUP+SIGINT+SIGTERM+SIGUSR1+SIGUSR2"

// blockedByThreads returns each combination of the signals that a thread blocks.
func blockedByThreads() map[string]bool {
	paths, _ := filepath.Glob("/proc/self/task/*/status")
	seen := map[string]bool{}
	for _, path := range paths {
		status, _ := os.ReadFile(path)
		mask, err := strconv.ParseUint(field(status, "SigBlk"), 16, 64)
		if err != nil {
			continue // the thread has ended
		}
		var names []string
		for _, sig := range daemonSignals {
			if mask&(1<<(sig.(syscall.Signal)-1)) != 0 {
				names = append(names, unix.SignalName(sig.(syscall.Signal)))
			}
		}
		seen[strings.Join(names, "+")] = true
	}
	return seen
}
