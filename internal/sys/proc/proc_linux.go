package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"example.com/lifecycle/internal/sys/monotonic"
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

// identity uses the state (3) and the start in ticks (22) of proc_pid_stat(5). The name (2) may
// contain any text.
func identity(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	clock := monotonic.Clock()
	if err != nil || len(fields) < 20 || fields[0] == "Z" || clock == "" {
		return ""
	}
	return clock + "/" + fields[19]
}

// has reports whether the signal is in the mask with that name.
func has(status, mask string, sig syscall.Signal) bool {
	_, rest, _ := strings.Cut(status, "\n"+mask+":\t")
	text, _, _ := strings.Cut(rest, "\n")
	bits, err := strconv.ParseUint(text, 16, 64)
	return err == nil && bits&(1<<(sig-1)) != 0
}

func groupOf(pid int) int {
	group, err := syscall.Getpgid(pid)
	if err != nil {
		return 0
	}
	return group
}

func isStopped(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && strings.Contains(string(status), "\nState:\tT ")
}
