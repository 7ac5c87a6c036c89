//go:build linux

package conformance

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// cron and sshd have children that are not part of the service. With -keep-orphans, these
// children outlive the service.

var cron = &debian{
	command: "cron", args: "-f", wrap: "unshare --mount @DIR@/wrap", ready: "test -s @DIR@/job", ask: cronAnswers, reload: sent("SIGHUP"),
	answers: [2]string{"one", "one"}, retries: true, gap: true, needs: []string{"unshare"},
	// The mount namespace gives this cron its own PID file and crontab, because the paths of both
	// are fixed.
	prepare: func(g *guarded) {
		require.NoError(g.t, os.Mkdir(g.file("empty"), 0o755))
		require.NoError(g.t, os.WriteFile(g.file("wrap"), []byte(g.fill(`#!/bin/sh -e
rm -f @DIR@/job
mount -t tmpfs none /run
mount --bind @CONFIG@ /etc/crontab
mount --bind @DIR@/empty /etc/cron.d
mount --bind @DIR@/empty /var/spool/cron/crontabs
exec "$@"
`)), 0o755))
	},
}

// cronAnswers waits until the job of the running cron has written its PID.
func cronAnswers(g *guarded) string {
	pid, _ := os.ReadFile(g.file("job"))
	if strings.TrimSpace(string(pid)) != strconv.Itoa(g.status(workerPID)) {
		return "no job of the running cron"
	}
	return "one"
}

var sshd = &debian{
	command: "/usr/sbin/sshd", args: "-D -e -f @CONFIG@", ask: sshAnswers, check: "@PROGRAM@ -t -f @CONFIG@", flags: "-notify", reload: sent("SIGHUP"),
	needs: []string{"ssh"},
	prepare: func(g *guarded) {
		require.NoError(g.t, os.MkdirAll("/run/sshd", 0o755))
		run(g, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", g.file("host"))
		run(g, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", g.file("user"))
	},
}

// sshAnswers returns the last word of the greeting.
func sshAnswers(g *guarded) string {
	words := strings.Fields(g.firstLine(""))
	return words[len(words)-1]
}

// session runs a command in a session of sshd.
func (g *guarded) session(command string) *exec.Cmd {
	return exec.Command("ssh", "-F", "none", "-p", strconv.Itoa(g.port), "-i", g.file("user"), "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@127.0.0.1", command)
}

func TestSessionsOfSSHDOutliveTheirGuard(t *testing.T) {
	t.Parallel()
	g := sshd.with("-keep-orphans").guard(t)
	g.succeeds("start")
	session := g.session("echo begun; read line; echo it has read $line")
	in, err := session.StdinPipe()
	require.NoError(t, err)
	out, err := session.StdoutPipe()
	require.NoError(t, err)
	session.Stderr = os.Stderr
	require.NoError(t, session.Start())
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "begun\n", line)

	g.crash(g.first())
	g.succeeds("restart")
	guard := g.status(guardPID)
	require.NoError(t, syscall.Kill(guard, syscall.SIGKILL))
	g.awaitEnd(guard)
	g.succeeds("start")
	require.Equal(t, g.first(), g.ask(g))
	g.succeeds("stop")
	_, err = fmt.Fprintln(in, "a line")
	require.NoError(t, err)
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Equal(t, "it has read a line\n", string(rest))
	require.NoError(t, session.Wait())
	g.requireNone()
}

// A session of sshd restarts the daemon although it is a descendant of that daemon.
func TestASessionOfSSHDRestartsItsDaemon(t *testing.T) {
	t.Parallel()
	g := sshd.with("-keep-orphans").guard(t)
	g.succeeds("start")
	guard, worker := g.status(guardPID), g.status(workerPID)
	var command []string
	for _, arg := range g.command("restart") {
		command = append(command, "'"+strings.ReplaceAll(arg, "'", `'\''`)+"'")
	}
	out, err := g.session(strings.Join(command, " ")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), ": restarted (")
	require.Equal(t, guard, g.status(guardPID))
	require.NotEqual(t, worker, g.status(workerPID))
	require.Equal(t, g.first(), g.ask(g))
	g.requireOne()
	g.succeeds("stop")
	g.requireNone()
}

func TestJobsOfCronOutliveTheirGuard(t *testing.T) {
	t.Parallel()
	g := cron.with("-keep-orphans").guard(t)
	g.succeeds("start")
	job := g.job(1)
	g.crash(g.first())
	g.job(2)
	g.succeeds("restart")
	g.job(3)
	g.succeeds("stop")
	_, ok := processOf(job)
	require.True(t, ok, "the job outlives its cron")
	require.Equal(t, []string{"sleep", "sleep", "sleep"}, g.processes().names())
}

// job returns the PID of the first of n jobs that have begun.
func (g *guarded) job(n int) (pid int) {
	g.t.Helper()
	var begun []string
	eventually(g.t, func() bool {
		text, _ := os.ReadFile(g.file("jobs"))
		begun = strings.Fields(string(text))
		return len(begun) == n
	}, "%d jobs", n)
	pid, err := strconv.Atoi(begun[0])
	require.NoError(g.t, err)
	return pid
}

// The workers started after the supervisor had written its last record.
func TestWorkersOfNginxThatSurviveAGuardAreEnded(t *testing.T) {
	t.Parallel()
	g := webServers[0].guard(t)
	for _, verb := range []string{"stop", "start"} {
		g.configure(g.second())
		g.succeeds("start")
		master, before := g.status(workerPID), g.processes()
		run(g, g.path, "-c", g.config(), "-s", "reload")
		var workers processes
		eventually(t, func() bool {
			workers = g.processes()
			maps.DeleteFunc(workers, func(pid int, p process) bool { return p.parent != master })
			for pid := range before {
				if _, old := workers[pid]; old {
					return false
				}
			}
			return len(workers) > 0
		}, "other workers")
		g.killGuard(verb)
	}
	g.succeeds("stop")
	g.requireNone()
}
