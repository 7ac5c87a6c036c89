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

// killsGroup makes the end of the context kill all processes of a command of sh. Otherwise its
// children would be left, and guard would take them for orphans of the program.
func killsGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
