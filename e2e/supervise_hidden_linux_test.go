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
	"example.com/lifecycle/internal/sdnotify"
)

// hider is a program that leaves a process behind, and has its service manager store a pidfd of it.
var hider = proctest.Register("hider", func([]string) int {
	socket, err := sdnotify.Dial(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	hidden := exec.Command("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
	hidden.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = hidden.Start()
	pidfd, openErr := unix.PidfdOpen(hidden.Process.Pid, 0)
	err = errors.Join(err, openErr, socket.SendFiles([]*os.File{os.NewFile(uintptr(pidfd), "pidfd")}, "FDSTORE=1"))
	fmt.Println("hides", hidden.Process.Pid, errors.Join(err, socket.Send("READY=1")))
	select {}
})

// A supervisor takes a child for which it has a pidfd for one that other code waits for.
//
// Row H8.
func TestAWorkerHidesNoProcessBehindAPidfd(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(proctest.Call(t, guard, append(b.args("supervise=min:-1ns,limit:-1,settle:1h", "start"), "--", "env", proctest.Variable+"="+hider, proctest.Binary())...))
	proctest.Command(hider) // it is used
	b.awaitSaid("<nil>\n")
	worker := b.worker(0)
	var hidden int
	_, err := fmt.Sscanf(b.said()[strings.Index(b.said(), "hides "):], "hides %d", &hidden)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	require.False(t, lives(hidden), "pid %d", hidden)
	b.stop()
	b.requireNothingLeft()
}
