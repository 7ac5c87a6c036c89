package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

func name(pid int) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(comm))
}

func dispositionOf(pid int, sig os.Signal) Disposition {
	number, ok := sig.(syscall.Signal)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	switch {
	case !ok || err != nil:
		return Default
	case has(string(status), "SigCgt", number), has(string(status), "SigBlk", number):
		return Catches
	case has(string(status), "SigIgn", number):
		return Ignores
	}
	return Default
}

func identity(pid int) string {
	if p, ok := of(pid); ok && !p.Ended {
		return p.ID
	}
	return ""
}

// has reports whether the signal is in the mask with that name.
func has(status, mask string, sig syscall.Signal) bool {
	_, rest, _ := strings.Cut(status, "\n"+mask+":\t")
	text, _, _ := strings.Cut(rest, "\n")
	bits, err := strconv.ParseUint(text, 16, 64)
	return err == nil && bits&(1<<(sig-1)) != 0
}

func descends(ancestor int) bool {
	// A process may become an orphan during the loop. Its new parent was its ancestor before, too.
	for pid := os.Getppid(); pid > 1; {
		if pid == ancestor {
			return true
		}
		p, ok := of(pid)
		if !ok {
			return false
		}
		pid = p.Parent
	}
	return ancestor == 1
}
