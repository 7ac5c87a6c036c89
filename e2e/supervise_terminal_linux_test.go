package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// A worker that had changed its user could once type into the shell of root that had started it
// (TIOCSTI).

// mischief lists harmful actions that a worker tries on a terminal. Each succeeds or is refused.
var mischief = []struct {
	what string
	try  func() error
}{
	{"type into stdin", func() error { return typeInto(0) }},
	{"type into stdout", func() error { return typeInto(1) }},
	{"type into stderr", func() error { return typeInto(2) }},
	{"type into a descriptor that was left open", func() error { return typeInto(3) }},
	{"read from stdout", func() error { return readFrom(1) }},
	{"read from stderr", func() error { return readFrom(2) }},
	{"read from a descriptor that was left open", func() error { return readFrom(3) }},
	{"read from stdin", func() error { return readFrom(0) }},
	{"open the terminal", func() error { _, err := unix.Open("/dev/tty", unix.O_RDWR, 0); return err }},
	{"open stdout for reading", func() error { _, err := unix.Open("/proc/self/fd/1", unix.O_RDONLY|unix.O_NONBLOCK, 0); return err }},
	{"take the terminal", func() error { return unix.IoctlSetInt(1, unix.TIOCSCTTY, 0) }},
	{"take the foreground", func() error { return unix.IoctlSetPointerInt(1, unix.TIOCSPGRP, unix.Getpgrp()) }},
	{"hang it up", func() error { return unix.IoctlSetInt(1, unix.TIOCVHANGUP, 0) }},
	{"select text on the console", func() error { return unix.IoctlSetPointerInt(1, unix.TIOCLINUX, 2) }},
	{"take its messages", func() error { return unix.IoctlSetInt(1, unix.TIOCCONS, 0) }},
}

func typeInto(fd int) error {
	letter := byte('x')
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, uintptr(unsafe.Pointer(&letter))); errno != 0 {
		return errno
	}
	return nil
}

func readFrom(fd int) error {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK); err != nil {
		return err
	}
	n, err := unix.Read(fd, make([]byte, 100))
	if err == nil && n == 0 {
		return io.EOF
	}
	return err
}

// villain is a worker that tries all the mischief and reports the results on stderr. It is a worker
// of this binary or a supervised program.
//
//	villain pidfile=PATH user=USER how=own|program:PATH [VERB]
//
// With one argument it is the supervised program.
var villain = proctest.Register("villain", func(args []string) int {
	is := map[string]string{}
	try := func() {
		for _, m := range mischief {
			// The kernel would suspend the worker when it reads, because the worker is in the background.
			if is["user"] == "" && len(args) > 1 && m.what != "open the terminal" {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s: %v\n", m.what, m.try())
		}
		fmt.Fprintln(os.Stderr, "uid", os.Getuid(), "leads a session:", sessionOf("self") == fmt.Sprint(os.Getpid()))
	}
	if len(args) == 1 {
		try()
		fmt.Println("said")
		<-context.Background().Done()
		select {}
	}
	for _, arg := range args[:3] {
		key, value, _ := strings.Cut(arg, "=")
		is[key] = value
	}
	opts := []lifecycle.Option{lifecycle.Name("villain"), lifecycle.PIDFile(is["pidfile"]), lifecycle.User(is["user"]), lifecycle.Supervise(lifecycle.RestartPolicy{Foreground: true})}
	if path, isProgram := strings.CutPrefix(is["how"], "program:"); isProgram {
		return lifecycle.Main(args[3:], nil, append(opts, lifecycle.Program(path, "be"))...)
	}
	return lifecycle.Main(args[3:], func(ctx context.Context) error {
		try()
		fmt.Println("said")
		<-ctx.Done()
		return nil
	}, opts...)
})

func sessionOf(pid string) string {
	text, _ := os.ReadFile("/proc/" + pid + "/stat")
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))[3]
}

// forEverybody returns a copy of the test binary that every user can execute.
func forEverybody(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)))
	path = filepath.Join(dir, "program")
	// If this process wrote the file, executing it could fail with ETXTBSY.
	require.NoError(t, exec.Command("cp", proctest.Binary(), path).Run())
	require.NoError(t, os.Chmod(path, 0o755))
	return path
}

// onTerminal launches the villain in the foreground of a terminal, and returns the output of the
// terminal.
func onTerminal(t *testing.T, user, how string) (p *proctest.Process, window io.Writer, screen *proctest.Lines) {
	t.Helper()
	master, tty := pty(t)
	cmd := inTerminal(proctest.Command(villain, "pidfile="+proctest.PIDPath(t), "user="+user, "how="+how, "run"), tty)
	cmd.Stdout, cmd.Stderr = tty, tty
	cmd.ExtraFiles = []*os.File{tty} // a descriptor that a careless shell has left open
	p = proctest.Launch(t, cmd)
	screen = &proctest.Lines{}
	go io.Copy(screen, master)
	proctest.Eventually(t, func() bool { return screen.Count("said\r\n") == 1 }, "the worker to speak: %s", screen)
	return p, master, screen
}

// Row L16.
func TestAWorkerThatChangesItsUserCanOnlyWriteToTheTerminal(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	for what, how := range map[string]string{"worker of this binary": "own", "supervised program": "program:" + forEverybody(t)} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p, window, screen := onTerminal(t, "12345:12345", how)
			for _, m := range mischief {
				require.Equal(t, 1, screen.Count(m.what+": "), "%s", screen)
				require.Zero(t, screen.Count(m.what+": <nil>"), "%s", screen)
			}
			require.Equal(t, 1, screen.Count("uid 12345 leads a session: true"), "%s", screen)
			// Ctrl-C reaches the supervisor, which forwards the signal to the worker.
			_, err := window.Write([]byte{'C' & 0x1f})
			require.NoError(t, err)
			require.Equal(t, 0, p.Wait(), "%s", screen)
		})
	}
}

func TestAWorkerOfTheSameUserStaysInTheSessionOfItsSupervisor(t *testing.T) {
	t.Parallel()
	p, _, screen := onTerminal(t, "", "own")
	require.Equal(t, 1, screen.Count("leads a session: false"), "%s", screen)
	require.Equal(t, 1, screen.Count("open the terminal: <nil>"), "%s", screen)
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), "%s", screen)
}
