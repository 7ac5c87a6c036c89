package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// burdened applies the burdens named before "--" to itself, and then executes itself as the named
// program:
//
//	burdened WHAT… PROGRAM -- arguments of that program
var burdened = proctest.Register("burdened", func(args []string) int {
	runtime.LockOSThread()
	for len(args) > 1 && args[1] != "--" {
		if err := burdens[args[0]](); err != nil {
			fmt.Fprintln(os.Stderr, "burdened:", args[0], err)
			return 7
		}
		args = args[1:]
	}
	os.Setenv(proctest.Variable, args[0])
	err := syscall.Exec("/proc/self/exe", append(args[:1:1], args[2:]...), os.Environ())
	fmt.Fprintln(os.Stderr, "burdened:", err)
	return 7
})

// burdens maps the attributes that a caller can impose to the system calls that set them in the
// calling thread.
var burdens = map[string]func() error{
	"cpu":      softLimit(unix.RLIMIT_CPU, 60),
	"fsize":    softLimit(unix.RLIMIT_FSIZE, 1<<20),
	"data":     softLimit(unix.RLIMIT_DATA, 8<<30),
	"as":       softLimit(unix.RLIMIT_AS, 16<<30),
	"rttime":   softLimit(unix.RLIMIT_RTTIME, 1<<20),
	"stack":    softLimit(unix.RLIMIT_STACK, 1<<20),
	"memlock":  softLimit(unix.RLIMIT_MEMLOCK, 4096),
	"msgqueue": softLimit(unix.RLIMIT_MSGQUEUE, 4096),
	"pending":  softLimit(unix.RLIMIT_SIGPENDING, 64),
	"nofile":   softLimit(unix.RLIMIT_NOFILE, 64),
	"hardcpu": func() error {
		return unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: 50, Max: 60})
	},
	"oom":  func() error { return os.WriteFile("/proc/self/oom_score_adj", []byte("321"), 0) },
	"nice": func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, 19) },
	"batch": func() error {
		return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH, Nice: 7}, 0)
	},
	"fifo": func() error {
		return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	},
	"affinity": func() error {
		var all, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			return err
		}
		for cpu := range 1024 {
			if all.IsSet(cpu) {
				one.Set(cpu)
				break
			}
		}
		return unix.SchedSetaffinity(0, &one)
	},
	"ioprio":      sets(unix.SYS_IOPRIO_SET, 1, 0, 3<<13), // IOPRIO_CLASS_IDLE
	"personality": sets(unix.SYS_PERSONALITY, 0x0040000, 0, 0),
	"slack":       sets(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, 12345678, 0),
	"thp":         sets(unix.SYS_PRCTL, unix.PR_SET_THP_DISABLE, 1, 0),
	"mce":         sets(unix.SYS_PRCTL, unix.PR_MCE_KILL, unix.PR_MCE_KILL_SET, unix.PR_MCE_KILL_EARLY),
	"nonewprivs":  sets(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0),
	"undumpable":  sets(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0),
	"deathsignal": sets(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGUSR2), 0),
	"timer": func() error {
		_, err := unix.Setitimer(unix.ITIMER_VIRTUAL, unix.Itimerval{
			Interval: unix.Timeval{Sec: 60}, Value: unix.Timeval{Sec: 60},
		})
		return err
	},
	"blocked": func() error {
		all := unix.Sigset_t{}
		for i := range all.Val {
			all.Val[i] = ^all.Val[i]
		}
		return unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil)
	},
	"ignored": func() error {
		ignore := [8]uintptr{1}
		for sig := range uintptr(64) {
			if sig == 0 || sig == uintptr(unix.SIGKILL) || sig == uintptr(unix.SIGSTOP) || sig == uintptr(unix.SIGURG) {
				continue
			}
			_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&ignore)), 0, 8, 0, 0)
		}
		return nil
	},
}

func softLimit(resource int, limit uint64) func() error {
	return func() error {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return err
		}
		return unix.Setrlimit(resource, &unix.Rlimit{Cur: min(limit, now.Max), Max: now.Max})
	}
}

func sets(number, a, b, c uintptr) func() error {
	return func() error {
		if _, _, errno := unix.RawSyscall6(number, a, b, c, 0, 0, 0); errno != 0 {
			return errno
		}
		return nil
	}
}

// limitsOf returns the soft and hard limits of a process by their names in proc_pid_limits(5).
func limitsOf(t *testing.T, pid int) (soft, hard map[string]string) {
	t.Helper()
	soft, hard = map[string]string{}, map[string]string{}
	for line := range strings.Lines(string(readFile(t, fmt.Sprintf("/proc/%d/limits", pid)))) {
		if name := strings.TrimSpace(line[:26]); name != "Limit" {
			values := strings.Fields(line[26:])
			soft[name], hard[name] = values[0], values[1]
		}
	}
	return soft, hard
}

// attributesOf returns the other attributes that a process inherits.
func attributesOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	read := func(name string) string {
		return strings.TrimSpace(string(readFile(t, fmt.Sprintf("/proc/%d/%s", pid, name))))
	}
	stat := read("stat")
	// Field 3 of proc_pid_stat(5) is the first one here.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	is := map[string]string{"nice": fields[16], "realtime": fields[37], "policy": fields[38], "oom": read("oom_score_adj")}
	if os.Geteuid() == 0 { // CAP_SYS_NICE, see proc_pid_timerslack_ns(5)
		is["slack"] = read("timerslack_ns")
	}
	is["personality"] = read("personality")
	for line := range strings.Lines(read("status")) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Cpus_allowed_list", "THP_enabled", "SigIgn", "NoNewPrivs":
			is[name] = strings.TrimSpace(value)
		}
	}
	priority, _, errno := unix.RawSyscall(unix.SYS_IOPRIO_GET, 1, uintptr(pid), 0)
	require.Zero(t, errno)
	is["io"] = strconv.Itoa(int(priority) >> 13)
	return is
}

// masksOf returns the blocked signals of each thread of a process. The Go runtime has one thread
// that blocks most signals.
func masksOf(t *testing.T, pid int) (masks []string) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	require.NoError(t, err)
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // the thread may have ended
		for line := range strings.Lines(string(text)) {
			if mask, found := strings.CutPrefix(line, "SigBlk:"); found {
				masks = append(masks, strings.TrimSpace(mask))
			}
		}
	}
	return masks
}

// burden lists attributes that a caller may have but its daemon must not have. A signal that Go
// itself ignores may stay ignored.
var burden = []string{
	"cpu", "fsize", "data", "as", "rttime", "stack", "memlock", "msgqueue", "pending", "nofile", "oom", "fifo", "affinity",
	"ioprio", "personality", "slack", "thp", "mce", "deathsignal", "timer", "ignored", "blocked",
}

// requireUnburdened requires that a process has at least the limits of process 1, and no attribute
// of its caller.
func requireUnburdened(t *testing.T, pid int) {
	t.Helper()
	soft, _ := limitsOf(t, pid)
	initSoft, _ := limitsOf(t, 1)
	_, ourHard := limitsOf(t, os.Getpid())
	for _, name := range []string{"cpu time", "file size", "data size", "address space", "realtime timeout", "locked memory", "pending signals", "msgqueue size"} {
		name = "Max " + name
		if want := initSoft[name]; soft[name] != want { // root without CAP_SYS_RESOURCE
			require.Equal(t, ourHard[name], soft[name], name)
		}
	}
	require.Equal(t, initSoft["Max stack size"], soft["Max stack size"])
	files, err := strconv.Atoi(soft["Max open files"])
	require.NoError(t, err)
	require.GreaterOrEqual(t, files, 1024)
	is := attributesOf(t, pid)
	for name, want := range map[string]string{
		"nice": "0", "realtime": "0", "policy": "0", "oom": "0", "slack": "50000", "personality": "00000000", "io": "0", "THP_enabled": "1",
		"Cpus_allowed_list": attributesOf(t, os.Getpid())["Cpus_allowed_list"], "NoNewPrivs": "0",
	} {
		require.Equal(t, want, is[name], name)
	}
	require.Contains(t, masksOf(t, pid), "0000000000000000", "signals are blocked in all threads")
	ignored, err := strconv.ParseUint(is["SigIgn"], 16, 64)
	require.NoError(t, err)
	require.Zero(t, ignored&^(1<<(unix.SIGPIPE-1)), "ignored: %x", ignored)
}

func TestADaemonOfRootHasNoAttributesOfItsCaller(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b := inBackground(t)
	args := append(append([]string{}, burden...), append([]string{daemon, "--"}, b.args("start")...)...)
	pid := b.readied(proctest.Call(t, burdened, args...))
	proctest.Use(daemon)
	requireUnburdened(t, pid)
	b.stop()
}

func TestAProgramThatRootSupervisesHasNoAttributesOfTheCaller(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b := inBackground(t)
	args := append(append([]string{}, burden...), guard, "--")
	args = append(append(args, b.args("start")...), "--", "sleep", "60")
	b.readied(proctest.Call(t, burdened, args...))
	requireUnburdened(t, b.worker(0))
	b.stop()
}

// An attribute that cannot be reset is logged once.
func TestADaemonOfRootLogsTheAttributesThatItKeepsOfItsCaller(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b := inBackground(t)
	pid := b.readied(proctest.Call(t, burdened, append([]string{"nonewprivs", "hardcpu", daemon, "--"}, b.args("start")...)...))
	soft, hard := limitsOf(t, pid)
	require.Equal(t, hard["Max cpu time"], soft["Max cpu time"])
	_, initHard := limitsOf(t, 1)
	want := `kept=no_new_privs`
	if hard["Max cpu time"] != initHard["Max cpu time"] { // no CAP_SYS_RESOURCE
		want = `kept="a hard limit RLIMIT_CPU, no_new_privs`
	}
	require.Equal(t, 1, strings.Count(b.said(), want), "%s", b.said())
	b.stop()
}

// In the foreground the caller is a service manager, and its settings are intended.
func TestALifeInTheForegroundKeepsTheAttributesOfItsCaller(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	p := proctest.Start(t, burdened, "cpu", "fsize", "nice", "slack", "affinity", daemon, "--", "pidfile="+pidfile, "run")
	p.Await("msg=ready")
	soft, _ := limitsOf(t, p.PID())
	require.Equal(t, "60", soft["Max cpu time"])
	require.Equal(t, strconv.Itoa(1<<20), soft["Max file size"])
	require.Equal(t, "19", attributesOf(t, p.PID())["nice"])
	require.NotContains(t, attributesOf(t, p.PID())["Cpus_allowed_list"], ",")
}

// A soft limit for a login must not end a daemon. Priorities are the user's choice and stay.
func TestASoftLimitOfALoginDoesNotEndADaemonOfAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	const uid = 54321
	b := inBackground(t)
	cmd := proctest.Command(burdened, append([]string{"cpu", "fsize", "data", "as", "rttime", "stack", "nice", "slack", daemon, "--"}, b.args("start")...)...)
	proctest.Use(daemon)
	if os.Geteuid() == 0 {
		for _, path := range []string{b.pidfile, b.log} {
			require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755))
			require.NoError(t, os.Chown(filepath.Dir(path), uid, uid))
		}
		program := filepath.Join(filepath.Dir(filepath.Dir(b.log)), "program")
		require.NoError(t, os.Rename(copyOfTestBinary(t), program))
		cmd.Path, cmd.Dir = program, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	pid := b.readied(proctest.CallCommand(t, cmd))
	soft, hard := limitsOf(t, pid)
	for _, name := range []string{"cpu time", "file size", "data size", "address space", "realtime timeout"} {
		require.Equal(t, hard["Max "+name], soft["Max "+name], name)
	}
	require.Equal(t, strconv.Itoa(1<<20), soft["Max stack size"])
	is := attributesOf(t, pid)
	require.Equal(t, "19", is["nice"])
	require.NotContains(t, b.said(), "level=WARN")
	b.stop()
}
