package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/reaper"
	"example.com/lifecycle/internal/sys/takeover"
)

// The tests execute this binary again as a supervisor, which starts the worker. A test can then
// kill the supervisor. Supervisor and worker write their reports to one pipe.

// child is the variable that selects what this binary does instead of running the tests:
// "supervise", "forge" or "plain".
const child = "WORKER_TEST_CHILD"

// slow is the variable that names a FIFO. A process with this variable blocks, before the init
// functions of this package, until another process opens the other end.
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
			os.Exit(98) // otherwise it would run the tests
		}
		proctest.DefaultSignals()
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

// testOrder is a Spec that can be sent as JSON, with further orders to the supervisor.
type testOrder struct {
	Spec
	Note   string
	Size   int      // of the note, to test a long one
	Files  []string // passed as sockets with their base names
	Binary string   // "removed" or "replaced" before the start
	Thread string   // "ends": a thread that ends requests the start
	// Before is "together": eight workers at once; "many": workers come and go; "limit": no further
	// process can be created; "outlive": the supervisor lives on when its worker has ended.
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
	var p *Process
	var err error
	if in := takeover.Inherited(); in != nil {
		var s State
		if err := json.Unmarshal(in.State, &s); err != nil {
			panic(err)
		}
		p, err = Adopt(s, in.Files)
		orphans := len(reaper.Reap())
		_ = reaper.EachOrphan(func(reaper.Orphan) { orphans++ })
		fmt.Println("orphans:", orphans)
	} else if p, err = startOn(o.Spec, o.Thread); err == nil {
		err = executed(p)
	}
	if err != nil {
		report("error", failed{err.Error(), newStageError(err).Errno, noChildren()})
		os.Exit(1)
	}
	fmt.Println("pid", p.PID)
	obeyed := make(chan struct{})
	go func() {
		defer close(obeyed)
		obey(p)
	}()
	state, err := p.Wait()
	fmt.Println("ended:", state, err, p.Signal(syscall.SIGTERM))
	if o.Before == "outlive" { // until the test ends this process
		<-obeyed
	}
	_, more := <-p.Hello()
	fmt.Println("more hello:", more)
	fmt.Print(p.Output())
	p.Close()
}

// executed waits until the program was executed or the process has ended.
func executed(p *Process) error {
	err := p.Executed(context.Background())
	if err != nil {
		_, _ = p.Wait()
	}
	return err
}

// startOn starts the worker. If thread is "ends", it does so in a thread that has ended when
// startOn returns.
func startOn(o Spec, thread string) (p *Process, err error) {
	if thread != "ends" {
		return Start(o)
	}
	tid := make(chan int)
	var begin func()
	begin = func() {
		runtime.LockOSThread() // without an unlock, the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			go begin() // occupies the first thread, which the Go runtime never ends
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

// comeAndGo repeatedly starts the worker, and a program that does not exist.
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
	await(func() bool { return runtime.NumGoroutine() <= alone+1 }) // one goroutine for forks stays
	before := opened()
	for range 20 {
		round()
	}
	await(func() bool { return opened() == before })
	fmt.Println("before:", before)
	fmt.Println("after:", opened())
}

// failed describes a failed Start.
type failed struct {
	Text       string
	Errno      syscall.Errno
	NoChildren bool
}

func noChildren() bool {
	_, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
	return err == syscall.ECHILD
}

// frozen is what the last Freeze has returned.
var (
	frozen      State
	frozenFiles []*os.File
)

func executeAgain(path string) {
	err := takeover.Execute(OnForkThread, takeover.Spec{
		Path: path, Args: os.Args, Env: os.Environ(), State: frozen, Files: frozenFiles,
	})
	fmt.Println("not executed:", err)
}

// obey executes the commands of the test.
func obey(p *Process) {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "close":
			p.Close()
		case "freeze":
			s, files, err := p.Freeze()
			fmt.Println("frozen", s.PID == p.PID, len(files), err)
			frozen, frozenFiles = s, files
		case "thaw":
			p.Thaw()
			fmt.Println("thawed")
		case "execute":
			self, _ := os.Executable()
			executeAgain(self)
		case "execute in vain":
			executeAgain("/no/such/program")
		case "start another":
			another, err := Start(Spec{Args: []string{"sleep", "60"}, Program: "/bin/sleep", Umask: -1})
			if err == nil {
				err = another.Executed(context.Background())
			}
			if err != nil {
				panic(err)
			}
			fmt.Println("another", another.PID)
		case "final":
			p.Final()
		case "hello":
			h, more := <-p.Hello()
			report("hello", map[string]any{"hello": h, "more": more})
		case "replace":
			fmt.Println("told:", p.Replace())
		case "ask", "ask badly", "ask at length":
			state, _ := json.Marshal(in.Text() + strings.Repeat(" ", len(in.Text())/len("ask at length")<<20))
			ctx, cancel := context.WithTimeoutCause(context.Background(), 10*time.Second, errors.New("no answer"))
			fmt.Println("answer:", p.AskAdopt(ctx, state))
			cancel()
		case "term":
			fmt.Println("signalled:", p.Signal(syscall.SIGTERM))
		}
	}
}
