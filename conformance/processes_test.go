//go:build linux

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"
)

// processes returns the processes of the daemon and of its guards, with their parents.
func (g *guarded) processes() processes {
	g.t.Helper()
	own, err := os.Readlink("/proc/thread-self/ns/uts")
	require.NoError(g.t, err)
	links, _ := filepath.Glob("/proc/[0-9]*/ns/uts")
	all := processes{}
	for _, link := range links {
		pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
		if namespace, _ := os.Readlink(link); namespace != own || pid == os.Getpid() {
			continue
		}
		if p, ok := processOf(pid); ok {
			all[pid] = p
		}
	}
	return all
}

type processes map[int]process

func (all processes) names() (names []string) {
	for _, p := range all {
		names = append(names, p.name)
	}
	slices.Sort(names)
	return names
}

// process is an entry of the process table. Two processes with the same PID differ in began.
type process struct {
	name, state, began string
	parent             int
}

func processOf(pid int) (p process, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, false
	}
	before, after, _ := strings.Cut(string(stat), ") ")
	_, p.name, _ = strings.Cut(before, "(")
	fields := strings.Fields(after)
	p.state, p.began = fields[0], fields[19]
	p.parent, _ = strconv.Atoi(fields[1])
	return p, p.state != "Z" && p.state != "X"
}

// requireOne requires that every process is the guard or its descendant.
func (g *guarded) requireOne() {
	g.t.Helper()
	guard := g.status(guardPID)
	all := g.processes()
	require.Contains(g.t, all, guard)
	for pid, p := range all {
		ancestor := pid
		for seen := 0; ancestor != guard && ancestor > 1 && seen < len(all)+1; seen++ {
			ancestor = all[ancestor].parent
		}
		if ancestor == guard {
			continue
		}
		again, ok := processOf(pid) // the process may have ended
		require.False(g.t, ok && again.began == p.began, "%s (pid %d) is not below the guard (pid %d): %v", p.name, pid, guard, all)
	}
}

// requireNone requires that no process remains.
func (g *guarded) requireNone() {
	g.t.Helper()
	eventually(g.t, func() bool { return len(g.processes()) == 0 }, "the end of %v", g.processes())
}
