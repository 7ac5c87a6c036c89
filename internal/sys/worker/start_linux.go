package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"example.com/lifecycle/internal/sys/ctlsock"
	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/privilege"
)

// running is a process and our end of its control socket.
type running struct {
	process   *os.Process
	peer      *ctlsock.Peer
	name      string        // of the program
	isProgram bool          // the process is a stage until it has executed the program
	heard     chan struct{} // closed after the last message on the control socket
	told      chan struct{} // closed after the orders were sent
	dialogue

	reaping *sync.Mutex // held while the process is reaped, and while it is frozen
	reaped  bool
}

func newRunning(conn *os.File, o *Spec) running {
	return running{
		peer: ctlsock.NewPeer(conn), name: o.Args[0], isProgram: o.Program != "",
		heard: make(chan struct{}), told: make(chan struct{}), dialogue: newDialogue(), reaping: new(sync.Mutex),
	}
}

func (r *running) signal(sig os.Signal) error { return r.process.Signal(sig) }

func (r *running) words() string { return r.peer.Output() }

// final closes the write side of the control socket, unless this process is still sending the
// orders. A worker that has not received its orders has nothing to clean up.
func (r *running) final() {
	select {
	case <-r.told:
		_ = r.peer.CloseWrite()
	default:
	}
}

func (r *running) close() { _ = r.peer.Close() }

func start(o Spec) (*Process, error) {
	if len(o.Args) == 0 {
		return nil, errors.New("cannot start a program without a name")
	}
	if privilege.IsFileCapable() { // no worker would accept this process as its supervisor
		return nil, errors.New("cannot supervise: " + privilege.WhyNotFileCapable)
	}
	p, err := o.start()
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", o.Args[0], err)
	}
	return p, nil
}

func (o *Spec) start() (*Process, error) {
	orders, err := o.orders()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := ctlsock.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	p := &Process{running: newRunning(ours, o)}
	attributes, err := o.attributes(theirs)
	if err == nil {
		p.process, err = fork(o.Path, o.Args, attributes)
	}
	// Linux before 5.7 cannot start a process in a group, and newer ones might not permit it.
	if err != nil && attributes != nil && attributes.Sys.UseCgroupFD {
		attributes.Sys.UseCgroupFD = false
		p.process, err = fork(o.Path, o.Args, attributes)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	p.PID = p.process.Pid
	theirs.Close()
	go func() {
		defer close(p.told)
		if o.Forked != nil {
			o.Forked(p.PID)
		}
		_ = p.peer.Send(orders) // may block: the orders may be larger than the buffer
	}()
	if p.isProgram {
		p.endDialogue()
	} else {
		go p.hear()
	}
	return p, nil
}

// hear reads the messages and the output of a worker of this binary until the worker has ended.
func (r *running) hear() {
	defer close(r.heard)
	defer r.endDialogue()
	r.peer.Serve(r.handle)
}

// stageOrders contains the orders that the stage or worker receives over the control socket.
type stageOrders struct {
	Note    json.RawMessage `json:"note,omitempty"`
	Program *stageProgram   `json:"foreign,omitempty"`

	NoTerminal bool `json:"no_terminal,omitempty"`
}

func (o *Spec) orders() (told stageOrders, err error) {
	told.NoTerminal = o.NoTerminal
	if o.Program == "" {
		told.Note, err = json.Marshal(o.Note)
		return told, err
	}
	told.Program = &stageProgram{Path: []byte(o.Program), Dir: []byte(o.Dir), Umask: o.Umask, Sockets: len(o.Sockets)}
	if o.Become != nil {
		told.Program.Root, told.Program.Identity = []byte(o.Become.Root), o.Become.Identity
	}
	return told, nil
}

const firstSocket = 3 // SD_LISTEN_FDS_START, sd_listen_fds(3)

func (o *Spec) attributes(ctlEnd *os.File) (*os.ProcAttr, error) {
	files, err := standardFiles()
	if err != nil {
		return nil, err
	}
	attributes := &os.ProcAttr{Files: files, Sys: &syscall.SysProcAttr{}}
	attributes.Sys.Setsid = o.NoTerminal && mayHaveTerminal()
	attributes.Sys.Setpgid = !attributes.Sys.Setsid // setsid(2) also makes a process group
	if o.Cgroup != nil {
		attributes.Sys.UseCgroupFD, attributes.Sys.CgroupFD = true, int(o.Cgroup.Fd())
	}
	var names, unset []string
	for _, s := range o.Sockets {
		if strings.Contains(s.Name, ":") {
			return nil, fmt.Errorf("the socket name %q contains a colon", s.Name)
		}
		names = append(names, s.Name)
		attributes.Files = append(attributes.Files, s.File)
	}
	mark, err := ctlsock.Mark(ctlEnd)
	if err != nil {
		return nil, err
	}
	set := []string{fmt.Sprintf("%s=%d:%s", markVariable, len(attributes.Files), mark)}
	attributes.Files = append(attributes.Files, ctlEnd)
	if o.Notify != "" {
		set = append(set, "NOTIFY_SOCKET="+o.Notify)
	}
	if o.Invocation != "" {
		set = append(set, InvocationVariable+"="+o.Invocation)
	}
	if o.Store > 0 {
		set = append(set, "FDSTORE="+strconv.Itoa(o.Store))
	}
	if o.Watchdog > 0 {
		set = append(set, "WATCHDOG_USEC="+strconv.FormatInt(o.Watchdog.Microseconds(), 10))
	}
	if len(names) > 0 {
		set = append(set, "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	// The stage sets the working directory of a supervised program, because only the stage is inside
	// the root directory.
	if o.Program != "" {
		if o.Become != nil {
			set, unset = append(set, o.Become.Env...), o.Become.Unset
		}
	} else if attributes.Dir = o.Dir; o.Dir != "" {
		if info, err := os.Stat(o.Dir); err != nil {
			return nil, err
		} else if !info.IsDir() {
			return nil, &os.PathError{Op: "chdir", Path: o.Dir, Err: syscall.ENOTDIR}
		}
	}
	attributes.Env = environment(set, unset)
	return attributes, nil
}

// managers lists the variables that a service manager sets for this process alone.
var managers = []string{
	"NOTIFY_SOCKET", "FDSTORE", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES", markVariable,
}

// environment returns the environment of this process with set in it, and without unset.
func environment(set, unset []string) []string {
	gone := slices.Concat(managers, unset)
	for _, variable := range set {
		gone = append(gone, nameOf(variable))
	}
	return append(slices.DeleteFunc(os.Environ(), func(variable string) bool { return slices.Contains(gone, nameOf(variable)) }), set...)
}

func nameOf(variable string) string {
	name, _, _ := strings.Cut(variable, "=")
	return name
}

func onForkThread(f func()) {
	done := make(chan struct{})
	forks() <- func() {
		defer close(done)
		f()
	}
	<-done
}

// fork executes the program at that path, or this program if path is "".
func fork(path string, args []string, attributes *os.ProcAttr) (process *os.Process, err error) {
	exe := execve.ProcessExecutable
	if path == "" {
		args, err = execve.SelfArgs(args)
	} else {
		exe, args, err = execve.ProgramArgs(path, args)
	}
	if err != nil {
		return nil, err
	}
	onForkThread(func() { process, err = os.StartProcess(exe, args, attributes) })
	return process, err
}
