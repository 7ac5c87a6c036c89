package worker

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/ctlsock"
	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/secureenv"
	"example.com/lifecycle/internal/sys/startup"
)

// markVariable marks a process as a worker of this binary, or as the stage of a supervised program.
// It contains the descriptor of the control socket, and the device and inode of the socket. A stray
// or forged variable has no effect without that socket.
//
// Another user can forge both, and could then make a setuid-root program execute any program.
// Therefore the process does not accept a supervisor of another user. A program with file
// capabilities accepts no supervisor, because its caller has the same user.
const markVariable = "_LIFECYCLE_WORKER"

func init() {
	mark := secureenv.Take(markVariable)
	number, socket, _ := strings.Cut(mark, ":")
	fd, err := strconv.Atoi(number)
	if err != nil || fd < firstSocket || !ctlsock.IsMarked(fd, socket) || !ctlsock.MadeByUs(fd) {
		return
	}
	secureenv.Believe()
	if err := begin(fd, mark); err != nil {
		fail(fd, err)
	}
}

// fail reports why this process did not become a worker: in the log, and to a supervisor that waits
// for a supervised program.
func fail(fd int, err error) {
	_ = ctlsock.NewPeer(ctlsock.Conn(fd)).Send(newStageError(err))
	fmt.Fprintf(startup.Stderr, "%s: %v\n", filepath.Base(startup.Args()[0]), err)
	os.Exit(1)
}

// begin is the first code that a worker of this binary runs, and all code that a stage runs.
func begin(fd int, mark string) error {
	// Execute the program again. The Go runtime has read the ignored signals at its start, and the
	// program may have read them too.
	if execve.DefaultSignals() {
		args, err := execve.SelfArgs(startup.Args())
		if err == nil {
			err = syscall.Exec(execve.ProcessExecutable, args, append(os.Environ(), markVariable+"="+mark))
		}
		return &os.PathError{Op: "exec", Path: execve.ProcessExecutable, Err: err}
	}
	if err := execve.CloseOnExec(firstSocket); err != nil {
		return fmt.Errorf("cannot close descriptors: %w", err)
	}
	if supervisorGone(fd) {
		os.Exit(1)
	}
	peer := ctlsock.NewPeer(ctlsock.Conn(fd))
	text, err := peer.Receive()
	if err != nil {
		os.Exit(1) // the supervisor is gone
	}
	var told stageOrders
	if err := json.Unmarshal(text, &told); err != nil {
		return err
	}
	if err := takeEnvironment(); err != nil {
		return err
	}
	if told.NoTerminal {
		if err := leaveTerminals(); err != nil {
			return err
		}
	}
	if told.Program != nil {
		_ = peer.Send(newStageError(told.Program.execute(fd)))
		os.Exit(1)
	}
	execve.NameProcess(filepath.Base(startup.Args()[0]))
	inherited = &Handoff{Note: told.Note, line: newLine(peer)}
	go inherited.watch()
	return nil
}

// supervisorGone reports whether the supervisor has ended. The socket alone does not show this,
// because a child of the supervisor may hold it open. Therefore supervisorGone also checks that the
// parent of this process is the process that made the socket pair.
func supervisorGone(fd int) bool {
	by, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err != nil || int(by.Pid) != os.Getppid() || ctlsock.IsGone(fd)
}

// takeEnvironment sets LISTEN_PID and WATCHDOG_PID to the PID of this process. The supervisor
// cannot set them, because it does not know the PID before the fork. The PID does not change at
// execve.
func takeEnvironment() error {
	for variable, whose := range map[string]string{"LISTEN_FDS": "LISTEN_PID", "WATCHDOG_USEC": "WATCHDOG_PID"} {
		if secureenv.Get(variable) == "" {
			continue
		}
		if err := os.Setenv(whose, strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	return nil
}

// line is our end of the control socket.
type line struct {
	peer *ctlsock.Peer
	lost chan struct{} // closed when the supervisor is gone

	replaced chan struct{} // closed when another worker replaces this one
	followed chan struct{} // closed when another worker follows this one
	ended    chan struct{} // closed after the last message of the supervisor
	asks     chan question

	replacedOnce, followedOnce sync.Once

	mu    sync.Mutex
	taken bool
}

func newLine(peer *ctlsock.Peer) line {
	return line{
		peer: peer, lost: make(chan struct{}),
		replaced: make(chan struct{}), followed: make(chan struct{}), ended: make(chan struct{}), asks: make(chan question, maxQuestions),
	}
}

func (l *line) take() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = true
	return l.lost
}

func (l *line) isFinal(within time.Duration) bool { return l.peer.WritesClosed(within) }

func (l *line) takeCrashes() error { return l.peer.RedirectCrashOutput() }

func (l *line) watch() {
	for {
		message, err := l.peer.Receive()
		if err != nil {
			break
		}
		l.handle(message)
	}
	close(l.ended)
	l.peer.AwaitGone() // the supervisor may have called Final
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.taken {
		os.Exit(1)
	}
	close(l.lost)
}
