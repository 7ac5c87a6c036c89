package cgroup

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	noTimeLeft    = "the time was too short to list all processes of the control group"
	processesLeft = "processes remain in the control group"
)

// processes returns the PIDs in a group, with 0 for each process outside of this PID namespace.
func processes(root *os.Root) (pids []int, err error) {
	text, err := root.ReadFile("cgroup.procs")
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		if pid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func (g *group) path() string { return strings.TrimSuffix(g.in.path, "/") + "/" + g.name }

// has reports whether the process is in the group.
func (g *group) has(pid string) bool {
	path, err := pathOf(pid)
	return err == nil && strings.HasPrefix(path+"/", g.path()+"/")
}

func (g *group) each(do func(Process), until time.Time) error {
	return g.eachOf(g.root, do, until, 0)
}

func (g *group) eachOf(root *os.Root, do func(Process), until time.Time, level int) error {
	pids, err := processes(root)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a threaded group
		return ifThere(err)
	}
	for _, pid := range pids {
		if time.Now().After(until) {
			return errors.New(noTimeLeft)
		}
		if pid == 0 || pid == os.Getpid() {
			continue
		}
		if err := g.with(pid, do); err != nil {
			return err
		}
	}
	if level == maxDepth {
		return errors.New(noTimeLeft)
	}
	for _, name := range below(root) {
		inner, err := root.OpenRoot(name)
		if err != nil {
			continue
		}
		err = g.eachOf(inner, do, until, level+1)
		inner.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// ifThere returns nil if err reports that the group was removed. Otherwise it returns err.
func ifThere(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// with pins a listed process. It calls do if the process is in the group, and if no other process
// has its PID by then.
func (g *group) with(pid int, do func(Process)) error {
	fd, err := unix.PidfdOpen(pid, 0)
	switch err {
	case nil:
	case unix.ESRCH, unix.ENOENT, unix.EINVAL: // the process is gone, or pid is now the ID of a thread
		return nil
	default:
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	// Call isOver last: if the process has not ended by then, g.has cannot have read the data of
	// another process with the same PID.
	if p := (Process{pid, fd}); g.has(strconv.Itoa(pid)) && !p.isOver() {
		do(p)
	}
	return nil
}

// isOver reports whether the process has ended, with all of its threads.
func (p Process) isOver() bool {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

func (p Process) signal(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return errors.ErrUnsupported
	}
	return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(p.fd, number, nil, 0))
}

func (g *group) kill(deadline time.Time) error {
	if g.has("self") {
		return errors.New("this process was moved into the control group")
	}
	// Linux before 5.14 has no such file. A threaded group cannot be killed in this way.
	if err := g.write("cgroup.kill", "1"); err != nil {
		return g.killFrozen(deadline)
	}
	return g.awaitEmpty(deadline)
}

func (g *group) awaitEmpty(deadline time.Time) error {
	for pause := shortPause; g.populated(); pause = min(2*pause, longPause) {
		if time.Now().After(deadline) {
			return errors.New(processesLeft)
		}
		time.Sleep(pause)
	}
	return nil
}

const (
	shortPause = 200 * time.Microsecond
	longPause  = 10 * time.Millisecond
)

// killFrozen freezes the group and then kills each process. A frozen process cannot fork. KILL also
// ends frozen processes (Documentation/admin-guide/cgroup-v2.rst).
func (g *group) killFrozen(deadline time.Time) error {
	if err := g.write("cgroup.freeze", "1"); err != nil {
		return ifThere(err)
	}
	defer g.write("cgroup.freeze", "0")
	half := time.Now().Add(time.Until(deadline) / 2)
	for pause := shortPause; !g.frozen() && time.Now().Before(half); pause = min(2*pause, longPause) {
		time.Sleep(pause)
	}
	for pause := shortPause; ; pause = min(2*pause, longPause) {
		var refusal error
		err := g.each(func(p Process) {
			if err := p.signal(syscall.SIGKILL); !errors.Is(err, unix.ESRCH) {
				refusal = cmp.Or(refusal, err)
			}
		}, deadline)
		switch {
		case !g.populated():
			return nil
		case time.Now().After(deadline):
			return cmp.Or(err, refusal, errors.New(processesLeft))
		}
		time.Sleep(pause)
	}
}

func (g *group) frozen() bool {
	text, err := g.root.ReadFile("cgroup.events")
	return err != nil || strings.Contains(string(text), "frozen 1")
}

func (g *group) write(file, text string) error {
	f, err := g.root.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
