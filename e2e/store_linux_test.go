package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/socket"
)

// storer is a daemon that prints the files that earlier workers have stored. It stores a memory
// file, the read end of a pipe, and a file on disk. Its arguments are the PID file, the file on
// disk, and "supervise" or "".
var storer = proctest.Register("storer", func(args []string) int {
	opts := []lifecycle.Option{
		lifecycle.Name("storer"), lifecycle.PIDFile(args[0]), lifecycle.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		lifecycle.OnStart(func(context.Context) error { return storeAll(args[1]) }),
		lifecycle.OnReload(func(context.Context) error { return socket.Store("data", nil) }),
	}
	if args[2] == "supervise" {
		opts = append(opts, lifecycle.Supervise(lifecycle.RestartPolicy{Foreground: true, MinDelay: -1}))
	}
	return lifecycle.ExitCode(lifecycle.Run(nil, opts...))
})

func storeAll(path string) error {
	var found []string
	for _, f := range socket.Stored("data") {
		_, _ = f.Seek(0, io.SeekStart) // a pipe has no offset
		text := make([]byte, 64)
		n, err := f.Read(text)
		switch {
		case errors.Is(err, io.EOF):
			found = append(found, "nothing")
		case err != nil:
			return err
		default:
			found = append(found, string(text[:n]))
		}
		f.Close()
	}
	fmt.Printf("found [%s] %d\n", strings.Join(found, ", "), len(socket.Stored("data")))
	if len(found) > 0 {
		return nil
	}
	memory, err := unix.MemfdCreate("data", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	disk, err := os.Create(path)
	if err != nil {
		return err
	}
	m := os.NewFile(uintptr(memory), "memory")
	defer w.Close()
	for name, f := range map[string]*os.File{"in memory": m, "in a pipe": w, "on disk": disk} {
		if _, err := f.WriteString(name); err != nil {
			return err
		}
	}
	for _, f := range []*os.File{m, r, disk} {
		if err := socket.Store("data", f); err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

func TestASupervisorKeepsStoredFilesOverCrashesInTheirOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "x.pid")
	p := proctest.Start(t, storer, pidFile, filepath.Join(dir, "disk"), "supervise")
	p.Await("found [] 0\n")
	crash := func() {
		var worker int
		proctest.Eventually(t, func() bool {
			d, err := lifecycle.Find(pidFile)
			if err != nil {
				return false
			}
			defer d.Close()
			s, err := d.Status()
			worker = s.Worker
			return err == nil && s.Phase == lifecycle.Ready && worker != 0
		}, "a worker that is ready")
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	}
	crash()
	p.Await("found [in memory, in a pipe, on disk] 0\n")
	crash()
	p.Await("found [in memory, nothing, on disk] 0\n")
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	crash()
	p.Await("found [] 0\n", 2)
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
}

func TestAServiceManagerKeepsStoredFiles(t *testing.T) {
	t.Parallel()
	k, dir := newKeeper(t), t.TempDir()
	start := func() *proctest.Process {
		p := k.run(storer, filepath.Join(dir, "x.pid"), filepath.Join(dir, "disk"), "")
		k.awaitReady(p)
		return p
	}
	p := start()
	p.Await("found [] 0\n")
	for _, key := range k.has(3) {
		require.Regexp(t, "^file:[0-9]+:data$", key)
	}
	p.Signal(syscall.SIGKILL)
	p.Wait()
	p = start()
	p.Await("found [in memory, in a pipe, on disk] 0\n")
	p.Signal(syscall.SIGHUP)
	k.has(0)
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
}

func TestNoFileIsStoredWithoutAManager(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := proctest.Start(t, storer, filepath.Join(dir, "x.pid"), filepath.Join(dir, "disk"), "")
	require.Equal(t, 1, p.Wait())
	require.Contains(t, p.Out.String(), `socket: cannot store \"data\": no supervisor or service manager keeps descriptors for this process now: unsupported operation`)
}
