package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// logFlags returns the flags of an open descriptor of a process; see proc_pid_fdinfo(5).
func logFlags(t *testing.T, pid, fd int) (flags int64) {
	t.Helper()
	_, rest, _ := strings.Cut(logText(t, fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd)), "flags:")
	text, _, _ := strings.Cut(rest, "\n")
	flags, err := strconv.ParseInt(strings.TrimSpace(text), 8, 64)
	require.NoError(t, err)
	return flags
}

func logOpened(t *testing.T, pid, fd int) string {
	t.Helper()
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	require.NoError(t, err)
	return path
}

func TestADaemonWithoutALogWritesToDevNull(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"log="}, {"log=/dev/null"}, {"log=/dev/null", "errorlog=/dev/null"}} {
		pid, pidfile := verbStart(t, args...)
		for range 2 {
			for fd := 1; fd <= 2; fd++ {
				require.Equal(t, os.DevNull, logOpened(t, pid, fd))
				require.Contains(t, []int64{syscall.O_WRONLY, syscall.O_RDWR}, logFlags(t, pid, fd)&syscall.O_ACCMODE)
			}
			require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
		}
		require.Empty(t, logStatus(t, pidfile).LogFile)
	}
}

func TestTheLogIsOpenForAppendingAndNotInherited(t *testing.T) {
	t.Parallel()
	log := logPlace(t)
	pid, pidfile := verbStart(t, "log="+log)
	for range 2 {
		for fd := 1; fd <= 2; fd++ {
			require.Equal(t, log, logOpened(t, pid, fd))
			require.Equal(t, int64(syscall.O_APPEND|syscall.O_WRONLY), logFlags(t, pid, fd)&(syscall.O_APPEND|syscall.O_ACCMODE))
		}
		others := 0
		for _, fd := range folder(t, fmt.Sprintf("/proc/%d/fd", pid)) {
			if path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd)); err == nil && path == log {
				others++
			}
		}
		require.Equal(t, 2, others, "only descriptors 1 and 2 are the log")
		require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
	}
	requireVerbRuns(t, pidfile, pid)
}

// This test uses the devices that exist on every system, because even root might not be permitted
// to make one.
// Row K14.
func TestADeviceIsRefusedAsALog(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	for _, log := range []string{"/dev/zero", "/dev/full", "/dev/ptmx"} {
		got := callVerb(t, pidfile, "log="+log, "start")
		require.Equal(t, proctest.Result{Stderr: "daemon: start failed: log file " + log + ": it is a device, not a regular file\n", Code: 1}, got)
		requireVerbLeftNothing(t, pidfile)
	}
}

// logDefault is a daemon with the default PID file and log.
//
//	logDefault NAME verb
var logDefault = proctest.Register("default", func(args []string) int {
	return lifecycle.Main(args[1:], func(ctx context.Context) error {
		fmt.Println("it lives")
		<-ctx.Done()
		return nil
	}, lifecycle.Name(args[0]))
})

func TestTheDefaultLogOfAnOrdinaryUserIsBesideThePIDFile(t *testing.T) {
	proctest.Use(logDefault)
	t.Parallel()
	proctest.Needs(t, "root")
	const uid = 54321 // without an entry in the password database
	program := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(program)), 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(program), 0o755))
	require.NoError(t, os.Rename(copyOfTestBinary(t), program))

	name := proctest.OwnName("log")
	dir := fmt.Sprintf("/tmp/%s-%d", name, uid)
	t.Cleanup(func() { os.RemoveAll(dir) })
	pidfile, log := filepath.Join(dir, name+".pid"), filepath.Join(dir, name+".log")
	call := func(verb string) proctest.Result {
		cmd := proctest.Command(logDefault, name, verb)
		cmd.Path, cmd.Dir = program, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return proctest.CallCommand(t, cmd)
	}
	t.Cleanup(func() {
		if p, err := lifecycle.Find(pidfile); err == nil {
			_ = p.Kill(context.Background())
			p.Close()
		}
	})
	got := call("start")
	require.Equal(t, 0, got.Code, got.Stderr)
	require.Regexp(t, `, log `+log+`\n$`, got.Stderr)
	awaitLog(t, log, "it lives\n")
	require.Equal(t, fs.FileMode(0o640), logPerm(t, log))
	require.Equal(t, fs.ModeDir|0o700, logPerm(t, dir))

	// The daemon may no longer write the directory of the log. Row K13.
	require.NoError(t, os.Rename(log, log+".1"))
	require.NoError(t, os.Chown(dir, 0, 0))
	require.NoError(t, os.Chmod(dir, 0o755))
	reopened := call("reopen")
	require.Equal(t, 1, reopened.Code, "the daemon lacks the permission, not the verb")
	require.Contains(t, reopened.Stderr, "reopen: log file "+log+": ")
	awaitLog(t, log+".1", "cannot reopen the log, so the daemon keeps writing to the old one")
	require.NoError(t, os.Chown(dir, uid, uid))
	require.NoError(t, os.Chmod(dir, 0o700))
	require.Equal(t, 0, call("reopen").Code)
	awaitLog(t, log, "log reopened")
	require.Equal(t, 0, call("stop").Code)
}

// logWriter is a daemon that writes numbered lines until the file GATE exists. It has two writers:
// package os, and direct writes to the descriptor. At the end it prints how many lines each has
// written. On USR2, each of them and a child process write one line.
//
//	logWriter pidfile=PATH LOG GATE [verb]
var logWriter = proctest.Register("writer", func(args []string) int {
	gate := args[2]
	once := func(context.Context) error {
		_, err := fmt.Println("once from Go")
		_, rawErr := syscall.Write(2, []byte("once to the descriptor\n"))
		cmd := exec.Command("sh", "-c", "echo once from a child; echo once from the stderr of a child >&2")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return errors.Join(err, rawErr, cmd.Run())
	}
	storm := func(write func(n int) error) (n int, err error) {
		for over := false; err == nil && !over; n++ {
			if err = write(n); n%100 == 0 {
				_, missing := os.Stat(gate)
				over = missing == nil
			}
		}
		return n, err
	}
	var raw atomic.Int64
	rawDone := make(chan error, 1)
	fn := func(ctx context.Context) error {
		if args[2] == "" {
			<-ctx.Done()
			return nil
		}
		go func() {
			n, err := storm(func(n int) error {
				line := fmt.Appendf(nil, "raw %08d %s\n", n, logFiller)
				written, err := syscall.Write(2, line)
				if err == nil && written < len(line) {
					err = errors.New("a short write")
				}
				return err
			})
			raw.Store(int64(n))
			rawDone <- err
		}()
		n, err := storm(func(n int) error { _, err := fmt.Printf("out %08d %s\n", n, logFiller); return err })
		if err = errors.Join(err, <-rawDone); err == nil {
			err = os.WriteFile(gate+".count", fmt.Appendf(nil, "%d %d", n, raw.Load()), 0o600)
		}
		return err
	}
	return lifecycle.Main(args[3:], fn, lifecycle.Name("writer"), lifecycle.PIDFile(strings.TrimPrefix(args[0], "pidfile=")), lifecycle.LogFile(args[1]),
		lifecycle.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))), lifecycle.OnSignal(syscall.SIGUSR2, once))
})

var logFiller = strings.Repeat("x", 100)

// Row K12.
func TestAfterAReopenAllOutputGoesToTheNewLog(t *testing.T) {
	t.Parallel()
	pidfile, log := verbPlace(t), logPlace(t)
	got := proctest.Call(t, logWriter, "pidfile="+pidfile, log, "", "start")
	require.Equal(t, 0, got.Code, got.Stderr)
	p := mustFind(t, pidfile)
	said := []string{"once from Go\n", "once to the descriptor\n", "once from a child\n", "once from the stderr of a child\n"}
	require.NoError(t, p.Signal(syscall.SIGUSR2))
	awaitLog(t, log, said[3])
	require.NoError(t, os.Rename(log, log+".1"))
	require.NoError(t, p.Reopen(t.Context()))
	require.NoError(t, p.Signal(syscall.SIGUSR2))
	awaitLog(t, log, said[3])
	for _, line := range said {
		require.Equal(t, 1, strings.Count(logText(t, log+".1"), line), line)
		require.Equal(t, 1, strings.Count(logText(t, log), line), line)
	}
}

// Row K12.
func TestRotationsLoseDuplicateAndTearNoLine(t *testing.T) {
	t.Parallel()
	lines, rotations := 10_000, 10
	if proctest.Long() {
		lines, rotations = 500_000, 100 // of each of two writers
	}
	pidfile, log, gate := verbPlace(t), logPlace(t), filepath.Join(t.TempDir(), "gate")
	got := proctest.Call(t, logWriter, "pidfile="+pidfile, log, gate, "start")
	require.Equal(t, 0, got.Code, got.Stderr)
	p := mustFind(t, pidfile)
	begun := time.Now()
	// atLeast is the size in bytes at which the test rotates a log. It gives the writers time between
	// two rotations.
	atLeast := int64(2 * lines / (rotations + 1) * (len(logFiller) + 14))
	grown := func() {
		proctest.Eventually(t, func() bool { info, err := os.Stat(log); return err == nil && info.Size() >= atLeast }, "the writers")
	}
	var files []string
	for n := 1; n <= rotations; n++ {
		grown()
		files = append(files, fmt.Sprintf("%s.%d", log, n))
		require.NoError(t, os.Rename(log, files[n-1]))
		require.NoError(t, p.Reopen(t.Context()))
	}
	grown()
	proctest.Touch(t, gate)
	require.NoError(t, p.Wait(t.Context()))
	took := time.Since(begun)

	next := map[string]int{}
	for _, file := range append(files, log) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.True(t, bytes.HasSuffix(text, []byte("\n")), "the last line of %s is torn", file)
		for line := range bytes.Lines(text) {
			who, rest, _ := strings.Cut(string(line), " ")
			if who != "out" && who != "raw" {
				require.True(t, bytes.HasPrefix(line, []byte("time=")), "%s: %q", file, line)
				continue
			}
			if want := fmt.Sprintf("%08d %s\n", next[who], logFiller); rest != want {
				require.Equal(t, want, rest, "%s of %s", who, file)
			}
			next[who]++
		}
	}
	var out, raw int
	_, err := fmt.Sscan(logText(t, gate+".count"), &out, &raw)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"out": out, "raw": raw}, next, "no line is missing at the end")
	require.GreaterOrEqual(t, out+raw, lines)
	t.Logf("%d lines over %d rotations in %v", out+raw, rotations, took)
}

// Row K15.
func TestALogAfterCopytruncateHasNoHole(t *testing.T) {
	t.Parallel()
	pidfile, log, gate := verbPlace(t), logPlace(t), filepath.Join(t.TempDir(), "gate")
	got := proctest.Call(t, logWriter, "pidfile="+pidfile, log, gate, "start")
	require.Equal(t, 0, got.Code, got.Stderr)
	p := mustFind(t, pidfile)
	for range 3 {
		proctest.Eventually(t, func() bool { info, err := os.Stat(log); return err == nil && info.Size() >= 100_000 }, "the writers")
		require.NoError(t, os.Truncate(log, 0))
	}
	proctest.Touch(t, gate)
	require.NoError(t, p.Wait(t.Context()))
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	require.NotContains(t, string(text), "\x00")
	require.Regexp(t, `^(out|raw) \d{8} x`, string(text[:min(len(text), 20)]))
	require.Contains(t, string(text), "msg=stopped")
}
