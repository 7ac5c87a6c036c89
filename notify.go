package lifecycle

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/keeper"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/readyfd"
	"example.com/lifecycle/internal/sys/sdnotify"
	"example.com/lifecycle/internal/sys/secureenv"
)

// manager is the connection to the service manager of this process: systemd, or a supervisor that
// implements sd_notify(3). The manager receives the same updates as the state file. A nil manager
// means that there is none.
type manager struct {
	socket *sdnotify.Socket
	log    *slog.Logger
	limits map[Phase]time.Duration // longest duration of a phase

	isParent bool // the supervisor of this binary, which receives the whole state

	room    int           // number of sockets that the service manager keeps for the next process
	watches time.Duration // longest time without a watchdog ping; 0: no limit

	mu     sync.Mutex // may be held for half a second
	seq    int
	phase  Phase
	text   string
	failed bool
}

// findManager takes the manager from the environment. If the life cannot connect to the manager, it
// runs without a manager.
func (l *life) findManager() {
	address, watches := secureenv.Take("NOTIFY_SOCKET"), takeWatchdog()
	room, _ := strconv.Atoi(secureenv.Take("FDSTORE"))
	if address == "" {
		return
	}
	socket, err := sdnotify.Dial(address)
	if err != nil {
		l.log.Warn("cannot connect to the service manager, so it gets no notifications", "err", err)
		return
	}
	l.manager = &manager{socket: socket, log: l.log, isParent: l.mode.kind == modeWorker, room: room, watches: watches, limits: map[Phase]time.Duration{
		Starting: l.plan.limits().Start, Reloading: l.plan.reloadTimeout + grace(l.plan.reloadTimeout),
	}}
}

// update sends the changed fields, unless a later update was sent already.
func (m *manager) update(now Status, turn int) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if turn <= m.seq || now.Phase == Exited { // manager.end reports an exit
		return
	}
	if now.workerDown && m.phase == Ready {
		now.Phase = Ready // sd_notify has no message for a service that restarts its worker
	}
	var lines []string
	if m.seq == 0 || now.Phase != m.phase {
		lines = append(lines, m.phaseLines(now)...)
	}
	if text := statusText(now); text != m.text {
		m.text = text
		lines = append(lines, managerLine("STATUS", text))
	}
	m.seq, m.phase = turn, now.Phase
	if m.isParent {
		if text, err := now.fit(nil); err == nil {
			lines = append(lines, "X_LIFECYCLE_STATE="+string(text))
		}
	}
	m.send(lines)
}

func (m *manager) phaseLines(now Status) (lines []string) {
	switch now.Phase {
	case Ready:
		lines = append(lines, "READY=1")
		if m.phase == Starting && InDaemon() {
			// Until now, the launcher was the main process.
			lines = append(lines, "MAINPID="+strconv.Itoa(os.Getpid()))
		}
		if m.phase == Reloading && now.LastReload != nil && now.LastReload.Error != "" {
			lines = append(lines, managerLine("X_LIFECYCLE_ERROR", trimPrefix(now.LastReload.Err())))
		}
	case Reloading:
		lines = append(lines, "RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", monotonic.Now().Microseconds()))
	case Stopping:
		lines = append(lines, "STOPPING=1")
	}
	limit := m.limits[now.Phase]
	if now.Phase == Stopping {
		limit = now.stopLimit
	}
	if limit > 0 {
		lines = append(lines, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", limit.Microseconds()))
	}
	return lines
}

// maxLine is the longest text in a message to a manager. systemd drops a whole message of more than
// 4096 bytes, even if it contains READY=1.
const maxLine = 1024

func managerLine(name, text string) string {
	return sdnotify.Line(name, console.CutTo(maxLine, bytetext.Valid(text)))
}

// statusText describes the current activity in one line.
func statusText(now Status) string {
	what := now.Phase.String()
	if now.Phase == Ready && now.LastReload != nil && now.LastReload.Error != "" {
		what += ", last reload rejected: " + trimPrefix(now.LastReload.Err())
	}
	if doing := cmp.Or(now.Doing, now.Text); doing != "" {
		return strings.TrimPrefix(what+": "+doing, "ready: ")
	}
	return what
}

// ping resets the watchdog of the manager.
func (m *manager) ping() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.send([]string{"WATCHDOG=1"})
}

// store passes a socket to the manager. The manager passes it to the next process under that name
// (sd_pid_notify_with_fds(3)). With FDPOLL=0 the manager also keeps a socket that reports an error,
// as a UDP socket may.
func (m *manager) store(name string, f *os.File) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.socket.SendFiles([]*os.File{f}, "FDSTORE=1", "FDPOLL=0", "FDNAME="+name)
}

// unstore makes the manager close the sockets that it keeps under that name.
func (m *manager) unstore(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.send([]string{"FDSTOREREMOVE=1", "FDNAME=" + name})
}

// end reports why the life failed.
func (m *manager) end(err error) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		lines := []string{
			managerLine("STATUS", trimPrefix(err)), managerLine("X_LIFECYCLE_ERROR", trimPrefix(err)),
			fmt.Sprintf("X_LIFECYCLE_EXIT=%d", ExitCode(err)),
		}
		if m.isParent {
			failed := encodeError(err)
			failed.Error = console.CutTo(maxStack, failed.Error)
			for _, text := range newFailure(err).Also {
				if len(failed.Also) < 20 {
					failed.Also = append(failed.Also, console.CutTo(maxLine/2, text))
				}
			}
			if text, err := json.Marshal(failed); err == nil {
				lines = append(lines, "X_LIFECYCLE_FAILURE="+string(text))
			}
		}
		var errno syscall.Errno
		if errors.As(err, &errno) {
			lines = append(lines, fmt.Sprintf("ERRNO=%d", int(errno)))
		}
		m.send(lines)
	}
	m.socket.Close()
}

// send logs only the first of several failures in a row. m.mu is held.
func (m *manager) send(lines []string) {
	if len(lines) == 0 {
		return
	}
	err := m.socket.Send(lines...)
	if err != nil && !m.failed {
		m.log.Warn("cannot notify the service manager", "err", err)
	}
	m.failed = err != nil
}

// readyVariable is an environment variable with the number of a descriptor. The life writes a
// newline to that descriptor when the daemon is ready. s6, dinit and OpenRC 0.60 pass such a
// descriptor to a service. No standard defines how the service learns its number. The author of s6
// proposes this name, and dinit sets it with "ready-notification = pipevar:READY_FD".
const readyVariable = "READY_FD"

// takeReadyFD takes the descriptor from the environment. It returns nil if there is none. Processes
// that the program starts inherit neither the descriptor nor the variable. A detached process has
// no such descriptor: its launcher keeps it and writes to it when the start has succeeded.
func takeReadyFD(log *slog.Logger) *readyfd.Descriptor {
	number := secureenv.Take(readyVariable)
	if number == "" || InDaemon() {
		return nil
	}
	fd, err := readyfd.Take(number)
	if err != nil {
		log.Warn("cannot use "+readyVariable+", so readiness is not reported there", "err", err)
	}
	return fd
}

// tellReadyFD reports on the descriptor that the daemon is ready.
func tellReadyFD(log *slog.Logger, fd *readyfd.Descriptor) {
	if err := fd.Tell(); err != nil {
		log.Warn("cannot report readiness to the descriptor in "+readyVariable, "err", err)
	}
}

func init() { fdstore.InheritFrom(handshake.Given) }

// descriptors returns the description of this life for package fdstore.
func (l *life) descriptors() fdstore.Life {
	tells := fdstore.Life{Stage: func() fdstore.Stage { return stageOf(l.snapshot().Phase) }}
	if m := l.manager; m != nil {
		tells.Manager = &fdstore.Manager{Room: m.room, Log: m.log, Store: m.store, Remove: m.unstore}
	}
	return tells
}

func stageOf(p Phase) fdstore.Stage {
	switch p {
	case Starting:
		return fdstore.Starting
	case Ready, Reloading:
		return fdstore.Running
	}
	return fdstore.Stopping
}

// listenedTooEarly returns an error if this process has opened sockets before it starts the process
// that needs them.
func listenedTooEarly() error {
	u, ok := fdstore.FirstUse()
	if !ok {
		return nil
	}
	return fmt.Errorf("lifecycle: %s(%s, %s) at %s was called before Run in a program that detaches or "+
		"supervises itself: call it in OnStart", u.Call, u.Network, u.Address, u.Where)
}

// findKeeper determines what may start this daemon again, for example a service manager. It also
// takes the descriptor of READY_FD, because only a service manager passes one. It must run after
// findManager.
func (l *life) findKeeper() {
	l.readyFD = takeReadyFD(l.log)
	s := &l.status
	var m keeper.Manager
	kept := false
	switch {
	case l.mode.background && l.launcher != nil:
		m = l.launcher.Keeper
		kept = m != keeper.Manager{}
	case !l.mode.background:
		m, kept = keeper.Of(l.manager != nil || l.readyFD != nil)
	}
	switch {
	case os.Getpid() == 1:
		s.KeptBy = keptProcess1
	case kept:
		s.KeptBy, s.Manager, s.Unit = keptManager, m.Name, m.Unit
	case l.mode.background:
		s.KeptBy = keptDetached
	default:
		s.KeptBy = keptForeground
	}
}
