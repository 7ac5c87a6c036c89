package supervise

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/proc"
	"example.com/lifecycle/internal/sys/worker"
)

// mark identifies a worker, and the processes that it has started, for the next supervisor. Each
// worker leads a process group, and its descendants stay in that group unless they leave it. The
// kernel does not reuse a PID while a process group or a session has that number.
//
// The number alone does not prove that a group belongs to the worker. The group may have ended, and
// another process may have got its number. Each of these facts proves it, and an idle supervisor
// need not renew the record:
//
//   - A process has the value of [worker.InvocationVariable] in its environment. Descendants
//     inherit the variable, unless a program removes it. The mark contains only a digest of the
//     value, because every user can read the state file.
//   - A process has the same memory addresses as the worker ([Marked.Image]), because it was forked
//     and has executed no other program. nginx and php-fpm fork such processes, and overwrite the
//     memory of their environment (setproctitle).
//   - A member of the group already ran when the supervisor last knew that the worker existed
//     ([Marked.At]). The number could not be reused before that time.
type mark struct {
	PID       int    // of the worker, and the number of its process group
	Session   int    // a session that contains only processes of this daemon; 0: none
	Namespace string // of these numbers; see proc.Namespace
	ID        string // of the worker; see proc.Identity

	Invocation  string         // digest of the value of worker.InvocationVariable; "-": unknown
	StopSignal  syscall.Signal // of the policy
	StopTimeout time.Duration
	ThisBinary  bool // the worker runs the binary of its supervisor
	Keep        bool // see KeepOrphans
}

// markOf returns the mark of a worker that has just been forked. It returns "" if there is no
// usable /proc.
func (s *Supervisor) markOf(pid int, invocation string) string {
	p, ok := proc.Of(pid)
	namespace := proc.Namespace()
	if !ok || p.ID == "" || namespace == "" || p.Group != pid {
		return ""
	}
	m := mark{
		PID: pid, Namespace: namespace, ID: p.ID, Invocation: digest(invocation), StopTimeout: s.spec.StopTimeout,
		ThisBinary: s.spec.Program == nil, Keep: s.spec.Policy.KeepOrphans,
	}
	m.StopSignal, _ = s.spec.Policy.StopSignal.(syscall.Signal)
	if p.Session == pid || s.spec.OwnSession {
		m.Session = p.Session
	}
	return m.text()
}

func (m mark) text() string {
	return fmt.Sprintf("%d %d %s %s %s %d %d %t %t", m.PID, m.Session, m.Namespace, m.ID, m.Invocation, m.StopSignal, m.StopTimeout, m.ThisBinary, m.Keep)
}

// parseMark parses the result of text. ok is false if the text is not a mark.
func parseMark(text string) (m mark, ok bool) {
	n, err := fmt.Sscan(text, &m.PID, &m.Session, &m.Namespace, &m.ID, &m.Invocation, &m.StopSignal, &m.StopTimeout, &m.ThisBinary, &m.Keep)
	if m.StopSignal == 0 {
		m.StopSignal = syscall.SIGTERM
	}
	return m, err == nil && n == 9 && m.PID > 1
}

// began returns proc.Process.Began of the worker, or 0 if that is unknown.
func (m mark) began() time.Duration {
	ticks, err := strconv.Atoi(m.ID[strings.LastIndexByte(m.ID, '/')+1:])
	if err != nil {
		return 0
	}
	return time.Duration(ticks) * proc.Tick
}

// digest returns a text that identifies the value of worker.InvocationVariable.
func digest(invocation string) string {
	if invocation == "" {
		return "-"
	}
	sum := sha256.Sum256([]byte(invocation))
	return hex.EncodeToString(sum[:16])
}

// isIn reports whether m may be a mark of this namespace. If this process cannot see process 1, its
// proc.Namespace is less precise than m.Namespace.
func (m mark) isIn(namespace string) bool {
	return namespace != "" && (m.Namespace == namespace ||
		strings.HasPrefix(m.Namespace, namespace+"/") || strings.HasPrefix(namespace, m.Namespace+"/"))
}

// Marked contains the data of a worker that an earlier supervisor has recorded.
type Marked struct {
	PID   int           // of the worker; 0: none
	Mark  string        // from Forked; "": unknown
	Image string        // of the worker, see proc.UniqueImage; from Known; "": unknown
	At    time.Duration // CLOCK_BOOTTIME at which the worker existed; from Forked or Known
}

// Alive identifies all running workers. The embedded Marked is the current worker, or another one
// if the current worker does not run.
type Alive struct {
	Marked
	Others []Marked // the candidate and draining workers
}

// IsZero reports whether a identifies no worker.
func (a Alive) IsZero() bool { return a.Marked == (Marked{}) && len(a.Others) == 0 }

// all returns the workers that a identifies.
func (a Alive) all() []Marked {
	if a.Marked == (Marked{}) {
		return a.Others
	}
	return append([]Marked{a.Marked}, a.Others...)
}

// Surviving returns the workers whose processes may still run. If a has marks, Surviving reads all
// of /proc.
func (a Alive) Surviving() (left Alive) {
	for _, m := range a.all() {
		switch {
		case len(m.survivors()) == 0:
		case left.IsZero():
			left.Marked = m
		default:
			left.Others = append(left.Others, m)
		}
	}
	return left
}

// Survivors returns the names and PIDs of processes of the workers that may still run, for people.
// If a has marks, Survivors reads all of /proc.
func (a Alive) Survivors() (texts []string) {
	for _, m := range a.all() {
		texts = append(texts, m.survivors()...)
	}
	return texts
}

func (m Marked) survivors() []string {
	v := newSurvivors(Remains{}, m)
	if !v.marked {
		return nil
	}
	certain := v.list()
	if len(certain)+len(v.uncertain) == 0 && v.hidden() {
		return []string{v.mark.groupText()}
	}
	return names(append(certain, v.uncertain...))
}

// groupText returns the process group for people.
func (m mark) groupText() string { return fmt.Sprintf("process group %d", m.PID) }

// inherits returns a function that reports whether a process has a property that only the worker
// and its descendants have.
func (m mark) inherits(imageOfWorker string) func(proc.Process) bool {
	known := map[int]bool{}
	return func(p proc.Process) bool {
		has, asked := known[p.PID]
		if !asked && !p.Ended && p.Began >= m.began() { // no older process descends from it
			has = imageOfWorker != "" && proc.Image(p.PID) == imageOfWorker ||
				m.Invocation != "-" && digest(proc.EnvironmentOf(p.PID, worker.InvocationVariable)) == m.Invocation
			known[p.PID] = has
		}
		return has
	}
}

// ownedAt contains the last times at which the numbers of the group and of the session certainly
// belonged to the worker.
type ownedAt struct{ group, session time.Duration }

// look contains the options of find.
type look struct {
	known    func(proc.Process) bool // reports whether an earlier find was certain; nil: none was
	inherits func(proc.Process) bool // see mark.inherits; nil: no process does
}

// found is the result of find.
type found struct {
	certain, uncertain []proc.Process
	group, session     bool // the numbers still belong to the worker
}

// find returns the processes of the worker. A process is certain if it has inherited a property of
// the worker (look.inherits). A member of the group or of the session is certain if one member
// proves that the number still belongs to the worker. The descendants of a certain process are
// certain too. Other members of the group are uncertain: the group may have ended, and another
// process may have got its number and then ended. Ancestors of this process are uncertain, because
// one of them may have called this start.
func (m mark) find(all []proc.Process, namespace string, at ownedAt, how look) (f found) {
	if !m.isIn(namespace) {
		return f
	}
	known, inherits := how.known, how.inherits
	if known == nil {
		known = func(proc.Process) bool { return false }
	}
	if inherits == nil {
		inherits = func(proc.Process) bool { return false }
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
				ours = ours || isWorker(p) || p.Began+proc.Tick <= at || inherits(p)
			}
		}
		for _, pid := range members {
			if ours {
				sure[pid] = true
			} else if !used { // otherwise another process has the number
				unsure[pid] = true
			}
		}
		return ours
	}
	f.group = add(m.PID, func(p proc.Process) int { return p.Group }, at.group)
	if m.Session > 1 && !m.Keep {
		f.session = add(m.Session, func(p proc.Process) int { return p.Session }, at.session)
	}
	for _, p := range all {
		if isWorker(p) || known(p) || !m.Keep && !sure[p.PID] && inherits(p) {
			sure[p.PID] = true
		}
	}
	for more := !m.Keep; more; {
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
