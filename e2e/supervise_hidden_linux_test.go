package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/sdnotify"
)

// hider is a program that leaves a process behind:
//
//	pidfd    which has its service manager store a pidfd of that process
//	sibling  which makes that process a child of its own parent
var hider = proctest.Register("hider", func(args []string) int {
	socket, err := sdnotify.Dial(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	hidden := exec.Command("sh", "-c", "trap '' TERM; exec sleep 60")
	hidden.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if args[0] == "sibling" {
		hidden.SysProcAttr.Cloneflags = unix.CLONE_PARENT
	}
	err = hidden.Start()
	if args[0] == "pidfd" {
		pidfd, openErr := unix.PidfdOpen(hidden.Process.Pid, 0)
		err = errors.Join(err, openErr, socket.SendFiles([]*os.File{os.NewFile(uintptr(pidfd), "pidfd")}, "FDSTORE=1"))
	}
	fmt.Println("hides", hidden.Process.Pid, errors.Join(err, socket.Send("READY=1")))
	select {}
})

// If a supervisor has a pidfd for a child, it assumes that other code waits for that child.
// Row H8.
func TestAWorkerCannotHideAProcessFromItsSupervisor(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"pidfd", "sibling"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			proctest.Command(hider) // marks it as used
			args := append(b.args("supervise=min:-1ns,limit:-1,settle:1h", killsSoon, "start"), "--")
			b.readied(proctest.Call(t, guard, append(args, "env", proctest.Variable+"="+hider, proctest.Binary(), how)...))
			b.awaitSaid("<nil>\n")
			worker := b.worker(0)
			var hidden int
			_, err := fmt.Sscanf(b.said()[strings.Index(b.said(), "hides "):], "hides %d", &hidden)
			require.NoError(t, err)
			require.False(t, proctest.IsOver(hidden))
			require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
			b.worker(worker)
			require.True(t, proctest.IsOver(hidden), "pid %d", hidden)
			// The stop fails if the hidden process does not end in time after TERM.
			require.Contains(t, b.call("stop").Stderr, ": stopped (pid ")
			b.requireNothingLeft()
		})
	}
}
