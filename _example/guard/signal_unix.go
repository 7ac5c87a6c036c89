//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// parseSignal returns the signal with that name, with or without SIG.
func parseSignal(name string) (os.Signal, error) {
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if sig == 0 {
		return nil, fmt.Errorf("%s is no signal; use a name such as QUIT or USR1", name)
	}
	return sig, nil
}

// killsGroup gives a command a process group of its own. The end of its context then kills sh and
// its children. If the children ran on, guard would take them for orphans of the program.
func killsGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
