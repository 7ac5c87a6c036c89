package supervise

import (
	"fmt"
	"os"
	"time"

	"example.com/lifecycle/internal/sys/proc"
)

// mark identifies a worker, and the processes that it has started, to the next supervisor. Each
// worker leads a process group, which its descendants stay in unless they leave it. The kernel does
// not reuse a PID while a process group or a session has that number.
type mark struct {
	PID       int    // of the worker, and the number of its process group
	Session   int    // a session that contains only processes of this daemon; 0: none
	Namespace string // of these numbers; see proc.Namespace
	ID        string // of the worker; see proc.Identity
}

// markOf returns the mark of a worker that has just been forked. It returns "" if there is no
// usable /proc.
func (s *Supervisor) markOf(pid int) string {
	p, ok := proc.Of(pid)
	namespace := proc.Namespace()
	if !ok || p.ID == "" || namespace == "" || p.Group != pid {
		return ""
	}
	m := mark{PID: pid, Namespace: namespace, ID: p.ID}
	if p.Session == pid || s.spec.OwnSession {
		m.Session = p.Session
	}
	return fmt.Sprintf("%d %d %s %s", m.PID, m.Session, m.Namespace, m.ID)
}

// parseMark is the reverse of markOf. It returns false if the text is no mark.
func parseMark(text string) (m mark, ok bool) {
	n, err := fmt.Sscan(text, &m.PID, &m.Session, &m.Namespace, &m.ID)
	return m, err == nil && n == 4 && m.PID > 1
}

// Marked is what an earlier supervisor has recorded of its worker.
type Marked struct {
	PID  int           // of the worker; 0: none
	Mark string        // from Forked; "": unknown
	At   time.Duration // CLOCK_BOOTTIME when the worker was known; from Forked or KnownAt
}

// Alive identifies all workers that run: one of them, the current one if it runs, and the others.
type Alive struct {
	Marked
	Others []Marked // a candidate, and workers that drain
}

// Surviving returns m if processes of the worker may still run, else the zero Marked. If m has a
// mark, it reads all of /proc.
func (m Marked) Surviving() Marked {
	parsed, ok := parseMark(m.Mark)
	if !ok {
		return Marked{}
	}
	found := parsed.find(proc.List(), proc.Namespace(), ownedAt{m.At, m.At}, look{})
	if len(found.certain)+len(found.uncertain) == 0 {
		return Marked{}
	}
	return m
}

// ownedAt contains the last times at which the numbers of the group and of the session are known to
// have been those of the worker.
type ownedAt struct{ group, session time.Duration }

// look describes how find looks.
type look struct {
	groupOnly bool                    // leaves out processes outside of the group
	known     func(proc.Process) bool // reports whether a process was certain before; nil: none was
}

// found is the result of find.
type found struct {
	certain, uncertain []proc.Process
	group, session     bool // the numbers are still those of the worker
}

// find returns the processes of the worker. They are certain if they were in its group, or in its
// session, when these numbers belonged to the worker, or if one such process still is. The
// descendants of a certain process are certain too. Other members of the group are uncertain: the
// group may have ended, and its number may have been given to another process, which has ended too.
// Ancestors of this process are uncertain, because this start may come from them.
func (m mark) find(all []proc.Process, namespace string, at ownedAt, how look) (f found) {
	if m.Namespace != namespace {
		return f
	}
	byPID := make(map[int]proc.Process, len(all))
	for _, p := range all {
		byPID[p.PID] = p
	}
	isWorker := func(p proc.Process) bool { return p.PID == m.PID && p.ID == m.ID }
	sure, unsure := map[int]bool{}, map[int]bool{}
	add := func(number int, of func(proc.Process) int, at time.Duration) (ours bool) {
		leader, used := byPID[number]
		ours = isWorker(leader)
		var members []int
		for _, p := range all {
			if of(p) == number {
				members = append(members, p.PID)
				ours = ours || isWorker(p) || p.Began+proc.Tick <= at
			}
		}
		for _, pid := range members {
			if ours {
				sure[pid] = true
			} else if !used { // otherwise another process has got the number
				unsure[pid] = true
			}
		}
		return ours
	}
	f.group = add(m.PID, func(p proc.Process) int { return p.Group }, at.group)
	if m.Session > 1 && !how.groupOnly {
		f.session = add(m.Session, func(p proc.Process) int { return p.Session }, at.session)
	}
	for _, p := range all {
		if isWorker(p) || how.known != nil && how.known(p) {
			sure[p.PID] = true
		}
	}
	for more := !how.groupOnly; more; {
		more = false
		for _, p := range all {
			if !sure[p.PID] && sure[p.Parent] && p.Began >= byPID[p.Parent].Began {
				sure[p.PID], more = true, true
			}
		}
	}
	self := os.Getpid()
	for p, ok := byPID[self]; ok; p, ok = byPID[p.Parent] {
		unsure[p.PID] = p.PID != self && (sure[p.PID] || unsure[p.PID])
		sure[p.PID] = false
	}
	for _, p := range all {
		switch {
		case p.Ended:
		case sure[p.PID]:
			f.certain = append(f.certain, p)
		case unsure[p.PID]:
			f.uncertain = append(f.uncertain, p)
		}
	}
	return f
}
