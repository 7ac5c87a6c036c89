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

func catches(pid int, sig os.Signal) bool {
	number, ok := sig.(syscall.Signal)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if !ok || err != nil {
		return false
	}
	return has(string(status), "SigCgt", number) || has(string(status), "SigIgn", number)
}

// has reports whether the signal is in the mask with that name.
func has(status, mask string, sig syscall.Signal) bool {
	_, rest, _ := strings.Cut(status, "\n"+mask+":\t")
	text, _, _ := strings.Cut(rest, "\n")
	bits, err := strconv.ParseUint(text, 16, 64)
	return err == nil && bits&(1<<(sig-1)) != 0
}
