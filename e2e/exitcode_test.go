package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/proctest/pagetest"
)

const exitCodesPage = "../docs/exit-codes.md"

// exitCoded is a program without OnReload. Its start fails with the error that its second argument
// names.
//
//	exit code PIDFILE ERROR verb
var exitCoded = proctest.Register("exit code", func(args []string) int {
	err := map[string]error{
		"code 78":      lifecycle.WithExitCode(errors.New("failed on purpose"), 78),
		"a permission": fmt.Errorf("listen: %w", fs.ErrPermission),
	}[args[1]]
	return lifecycle.Main(args[2:], nil, lifecycle.Name("coded"), lifecycle.PIDFile(args[0]), lifecycle.LogFile(""), lifecycle.OnStart(func(context.Context) error { return err }))
})

// exitCase is a row of the table in the page: a verb, an exit code and the reason for it.
type exitCase struct {
	verb, when string
	code       int
	running    []string // arguments of a daemon to start first; nil: none
	killed     bool     // the test then kills that daemon
	args       []string // the arguments before the verb; those of exitCoded begin with its name
}

var alive = []string{"run=wait"}

// supervised are the arguments of a daemon with a supervisor.
var supervised = []string{"supervise=foreground", "run=wait"}

// cannotBeTold is the text for the exit code if the PID file is not a regular file.
const cannotBeTold = "unknown: the PID file is unsafe, or the caller may not read it"

var exitCases = []exitCase{
	{"start", "the daemon is ready", 0, nil, false, nil},
	{"start --oknodo", "a daemon is running", 0, alive, false, nil},
	{"start", "a daemon is running", 1, alive, false, nil},
	{"start", "an `OnStart` failed", 1, nil, false, []string{"start=error"}},
	{"start", "an `OnStart` did not return in time", 1, nil, false, []string{"start=hang", "starttimeout=2s", "stoptimeout=100ms"}},
	{"start", "a body returned before the life was ready, even with nil", 1, nil, false, []string{"run=:"}},
	{"start", "the daemon died before it was ready, with any exit code", 1, nil, false, []string{"start=exit:3"}},
	{"start", "the start failed because of a missing permission", 4, nil, false, []string{exitCoded, "a permission"}},
	{"start", "a hook or body panicked", 70, nil, false, []string{"start=panic"}},
	{"start", "the error carries a code, here 78", 78, nil, false, []string{exitCoded, "code 78"}},
	{"run", "a daemon is running", 1, alive, false, nil},
	{"run", "a body failed", 1, nil, false, []string{"run=error"}},
	{"run", "a hook of the stop failed", 1, nil, false, []string{"run=:", "exit=error"}},
	{"run", "a hook or body panicked", 70, nil, false, []string{"run=panic"}},
	{"run", "the error carries a code, here 78", 78, nil, false, []string{exitCoded, "code 78"}},
	{"stop", "the daemon has ended", 0, alive, false, nil},
	{"stop", "the daemon has ended, but its end failed, or it had to be killed", 1, []string{"run=wait", "stop=hang", "exit=hang", "stoptimeout=1ms"}, false, nil},
	{"stop --oknodo", "no daemon is running", 0, nil, false, nil},
	{"stop", "no daemon is running", 7, nil, false, nil},
	{"stop", "the daemon has died and left its PID file", 7, alive, true, nil},
	{"restart", "the new daemon is ready", 0, alive, false, nil},
	{"restart", "no daemon was running, and the new one is ready", 0, nil, false, nil},
	{"restart", "the old daemon has ended and the start failed; the code is that of start", 1, alive, false, []string{"start=error"}},
	{"restart", "an `OnCheck` failed; the old daemon still runs", 6, alive, false, []string{"check=error"}},
	{"restart", restartsElsewhere, 3, alive, false, nil},
	{"try-restart", "no daemon is running", 0, nil, false, nil},
	{"try-restart", restartsElsewhere, 3, alive, false, nil},
	{"reload", "the new configuration is live", 0, alive, false, nil},
	{"reload", "the reload was rejected", 1, []string{"run=wait", "reload=error"}, false, nil},
	{"reload", "no verdict within `ReloadTimeout`", 1, []string{"run=wait", "reload=hang"}, false, []string{"reloadtimeout=50ms"}},
	{"reload", "no component has an `OnReload`", 3, nil, false, []string{exitCoded, ""}},
	{"reload", "no daemon is running", 7, nil, false, nil},
	{"force-reload", "nothing to reload: as try-restart", 0, nil, false, []string{exitCoded, ""}},
	{"force-reload", "something to reload: as reload", 7, nil, false, nil},
	{"upgrade", "a worker of the program on disk has replaced the running one", 0, supervised, false, nil},
	{"upgrade", "the new program was refused; the old one serves", 1, append([]string{"start=unless:UPGRADE"}, supervised...), false, nil},
	{"upgrade", "the daemon has no supervisor", 3, alive, false, nil},
	{"upgrade", "no daemon is running", 7, nil, false, nil},
	{"reopen", "the log is reopened, or there is no log", 0, alive, false, nil},
	{"reopen", "no daemon is running", 7, nil, false, nil},
	{"check", "every `OnCheck` has returned nil", 0, nil, false, nil},
	{"check", "an `OnCheck` failed", 6, nil, false, []string{"check=error"}},
	{"status", "a daemon is running", 0, alive, false, nil},
	{"status", "a daemon has died and left its PID file", 1, alive, true, nil},
	{"status", "no daemon is running", 3, nil, false, nil},
	{"status", cannotBeTold, 4, nil, false, nil},
	{"status --ready", "the daemon is ready or reloading", 0, alive, false, nil},
	{"status --ready", "the daemon is not ready, for any reason", 150, nil, false, nil},
	{"help", "the usage was asked for, also with `--help` or `-h`", 0, nil, false, nil},
	{"", "no verb", 2, nil, false, nil},
	{"strat", "an unknown verb, or too many arguments", 2, nil, false, nil},
}

const restartsElsewhere = "refused: the daemon runs in the foreground, or a service manager keeps it"

// The test generates the table from the cases, and tries each case.
func TestDocsListTheExitCodesOfTheVerbs(t *testing.T) {
	rows := []string{"| verb | code | when |", "|---|---|---|"}
	for _, c := range exitCases {
		verb := "`" + c.verb + "`"
		if c.verb == "" {
			verb = ""
		}
		rows = append(rows, fmt.Sprintf("| %s | %d | %s |", verb, c.code, c.when))
	}
	pagetest.RequireTable(t, exitCodesPage, "exitCases of exitcode_test.go", rows...)
}

func TestTheVerbsExitWithTheDocumentedCodes(t *testing.T) {
	t.Parallel()
	for _, c := range exitCases {
		t.Run(c.verb+" "+c.when, func(t *testing.T) {
			t.Parallel()
			pidfile := verbPlace(t)
			if c.when == cannotBeTold {
				require.NoError(t, os.Mkdir(pidfile, 0o755))
			}
			if c.running != nil && strings.HasSuffix(c.verb, "restart") && c.when != restartsElsewhere {
				got := proctest.Call(t, daemon, append([]string{"pidfile=" + pidfile}, append(c.running, "start")...)...)
				require.Equal(t, 0, got.Code, got.Stderr)
			} else if c.running != nil {
				refuse := filepath.Join(filepath.Dir(pidfile), "refuse")
				args := []string{"pidfile=" + pidfile}
				for _, arg := range c.running {
					args = append(args, strings.ReplaceAll(arg, "UPGRADE", refuse))
				}
				p := proctest.Start(t, daemon, args...)
				p.Await("msg=ready")
				proctest.Touch(t, refuse)
				if c.killed {
					p.Signal(syscall.SIGKILL)
					p.Wait()
				}
			}
			program, args := daemon, append([]string{"pidfile=" + pidfile}, c.args...)
			if len(c.args) > 0 && c.args[0] == exitCoded {
				program, args = exitCoded, []string{pidfile, c.args[1]}
			}
			if c.verb == "" {
				program, args = exitCoded, []string{pidfile, ""}
			}
			got := proctest.Call(t, program, append(args, strings.Fields(c.verb)...)...)
			require.Equal(t, c.code, got.Code, "%s%s", got.Stdout, got.Stderr)
			// The verb has started a daemon: end it by its PID.
			if c.verb == "start" || strings.Contains(c.verb, "restart") {
				_ = proctest.Call(t, daemon, "pidfile="+pidfile, "stop")
			}
		})
	}
}
