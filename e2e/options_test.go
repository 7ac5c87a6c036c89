package e2e

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/proctest/pagetest"
)

func fine(context.Context) error { return nil }

// optionExamples contains at least one correct use of each option. The key is the name of the
// option, and may have a remark.
func optionExamples() map[string]lifecycle.Option {
	return map[string]lifecycle.Option{
		"Args": lifecycle.Args("run"), "BaseContext": lifecycle.BaseContext(context.Background()), "Chroot": lifecycle.Chroot("/srv/jail"),
		"CleanErrors": lifecycle.CleanErrors(os.ErrClosed), "Detach": lifecycle.Detach(), "DrainTimeout": lifecycle.DrainTimeout(time.Minute), "NoOverlap": lifecycle.NoOverlap(), "Embedded": lifecycle.Embedded(),
		"ErrorLogFile": lifecycle.ErrorLogFile("/run/app/x.log"), "Every": lifecycle.Every(time.Second, fine), "LogFile": lifecycle.LogFile("/run/app/x.log"),
		"LogFileMode": lifecycle.LogFileMode(0o600), "OnReopen": lifecycle.OnReopen(fine), "Logger": lifecycle.Logger(nil), "Name": lifecycle.Name("app"), "OnCheck": lifecycle.OnCheck(fine), "OnExit": lifecycle.OnExit(fine),
		"OnReload": lifecycle.OnReload(fine), "OnSignal": lifecycle.OnSignal(syscall.SIGUSR2, fine), "OnStart": lifecycle.OnStart(fine),
		"OnStop": lifecycle.OnStop(fine), "PIDFile": lifecycle.PIDFile("/run/app/x.pid"), "PIDFileMode": lifecycle.PIDFileMode(0o600),
		"Program": lifecycle.Program("/bin/true"), "ReadyWhen": lifecycle.ReadyWhen(fine), "ReloadTimeout": lifecycle.ReloadTimeout(time.Second),
		"StartTimeout": lifecycle.StartTimeout(time.Second), "StopDelay": lifecycle.StopDelay(2 * time.Second), "StopTimeout": lifecycle.StopTimeout(time.Second),
		"Supervise": lifecycle.Supervise(lifecycle.RestartPolicy{}), "Umask": lifecycle.Umask(0), "User": lifecycle.User("svc"),
		"Version": lifecycle.Version("1"), "Watchdog": lifecycle.Watchdog(time.Second, fine), "WorkDir": lifecycle.WorkDir("/"),
		"With": lifecycle.With(lifecycle.Hooks{Name: "db", OnStart: fine}),

		"With of the same name":               lifecycle.With(lifecycle.Hooks{Name: "db", OnExit: fine}),
		"With of the name of the program":     lifecycle.With(lifecycle.Hooks{Name: "app", Run: fine}),
		"With of a check":                     lifecycle.With(lifecycle.Hooks{Name: "check", OnCheck: fine}),
		"PIDFile of none":                     lifecycle.PIDFile(""),
		"PIDFile that is the default log":     lifecycle.PIDFile(lifecycle.DefaultLogFile("app")),
		"LogFile of none":                     lifecycle.LogFile(""),
		"LogFile that is the PID file":        lifecycle.LogFile("/run/app/../app/x.pid"),
		"LogFile that is the state file":      lifecycle.LogFile("/run/app/x.state"),
		"ErrorLogFile that is the PID file":   lifecycle.ErrorLogFile("/run/app/x.pid"),
		"ErrorLogFile that is the state file": lifecycle.ErrorLogFile("/run/app/x.state"),
	}
}

// optionConflict names two entries of optionExamples that are correct alone but refused together.
type optionConflict struct {
	one, other string
	why        string // for the page
	says       string // a part of the error
}

const (
	noCode   = "the worker runs no code of this program"
	oneName  = "two components have one name"
	sameFile = "the log would be the PID file or the state file beside it"
)

var optionConflicts = []optionConflict{
	{"Program", "Every", noCode, `Program("/bin/true"): cannot be combined with Every, `},
	{"Program", "Watchdog", noCode, `Program("/bin/true"): cannot be combined with Watchdog, `},
	{"Program", "NoOverlap", noCode, `Program("/bin/true"): cannot be combined with NoOverlap, `},
	{"Program", "OnReopen", noCode, `Program("/bin/true"): cannot be combined with OnReopen, `},
	{"Program", "CleanErrors", noCode, `Program("/bin/true"): cannot be combined with CleanErrors, `},
	{"Program", "OnStart", noCode, `Program("/bin/true"): cannot be combined with OnStart of app, `},
	{"Program", "OnReload", noCode, `Program("/bin/true"): cannot be combined with OnReload of app, `},
	{"Program", "OnStop", noCode, `Program("/bin/true"): cannot be combined with OnStop of app, `},
	{"Program", "OnExit", noCode, `Program("/bin/true"): cannot be combined with OnExit of app, `},
	{"Program", "With", noCode + "; a component with only an OnCheck is allowed", `Program("/bin/true"): cannot be combined with OnStart of db, `},
	{"Program", "With of the same name", "", `Program("/bin/true"): cannot be combined with OnExit of db, `},
	{"Program", "With of the name of the program", "", `Program("/bin/true"): cannot be combined with Run of app, `},
	{"Program", "StopDelay", "the program gets its stop signal at once", `Program("/bin/true") and StopDelay(2s): `},
	{"Program", "Embedded", "an embedded life starts no process", `Program("/bin/true") and Embedded: `},
	{"StopDelay", "StopTimeout", "`StopDelay` must be shorter than `StopTimeout`, which includes it", `StopDelay(2s): must be shorter than StopTimeout (1s)`},
	{"With", "With of the same name", oneName, `With(Hooks{Name: "db"}) is given twice: `},
	{"With of the name of the program", "OnStart", oneName + ": `OnStart`, `OnReload`, `OnStop`, `OnExit` and `OnCheck` form a component named after the program", `With(Hooks{Name: "app"}) and the options OnStart, `},
	{"With of the name of the program", "OnReload", "", `With(Hooks{Name: "app"}) and the options OnStart, OnReload`},
	{"With of the name of the program", "OnStop", "", `With(Hooks{Name: "app"}) and the options OnStart, OnReload, OnStop`},
	{"With of the name of the program", "OnExit", "", `With(Hooks{Name: "app"}) and the options OnStart, OnReload, OnStop, OnExit`},
	{"With of the name of the program", "OnCheck", "", `With(Hooks{Name: "app"}) and the options OnStart, OnReload, OnStop, OnExit or OnCheck: `},
	{"LogFile that is the PID file", "PIDFile", sameFile, `LogFile("/run/app/x.pid") and PIDFile("/run/app/x.pid"): the log would be the PID file`},
	{"LogFile that is the state file", "PIDFile", "", `LogFile("/run/app/x.state") and PIDFile("/run/app/x.pid"): the log would be the state file`},
	{"ErrorLogFile that is the PID file", "PIDFile", sameFile, `ErrorLogFile("/run/app/x.pid") and PIDFile("/run/app/x.pid"): the log would be the PID file`},
	{"ErrorLogFile that is the state file", "PIDFile", "", `ErrorLogFile("/run/app/x.state") and PIDFile("/run/app/x.pid"): the log would be the state file`},
}

// A PID file at the default path of the log is refused, except with LogFile or Embedded.
const isDefaultLog = "PIDFile that is the default log"

func optionName(example string) string { name, _, _ := strings.Cut(example, " "); return name }

// pairer calls the verb help with each pair of examples, in both orders. Before each call it prints
// the pair.
var pairer = proctest.Register("pairer", func([]string) int {
	examples := optionExamples()
	for one, first := range examples {
		for other, second := range examples {
			fmt.Fprintf(os.Stderr, "\n%s + %s\n", one, other)
			opts := []lifecycle.Option{lifecycle.Name("app"), first}
			if one != other {
				opts = append(opts, second)
			}
			_ = lifecycle.Main([]string{"help"}, nil, opts...)
		}
	}
	return 0
})

func TestEachPairOfOptionsIsAcceptedOrRefusedByBothNames(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for part := range strings.SplitSeq(proctest.Call(t, pairer).Stderr, "\n\n") {
		pair, said, _ := strings.Cut(strings.Trim(part, "\n"), "\n")
		if !strings.Contains(said, "wrong option: ") {
			said = ""
		}
		got[pair] = said
	}
	require.Len(t, got, len(optionExamples())*len(optionExamples()))
	want := map[string]optionConflict{}
	for _, c := range optionConflicts {
		want[c.one+" + "+c.other], want[c.other+" + "+c.one] = c, c
	}
	for _, pair := range slices.Sorted(maps.Keys(got)) {
		said, c := got[pair], want[pair]
		one, other, _ := strings.Cut(pair, " + ")
		switch {
		case one == isDefaultLog || other == isDefaultLog:
			require.Equal(t, !replacesDefault(one, other), strings.Contains(said, "is the default log file"), "%s: %s", pair, said)
		case c.says == "":
			require.Empty(t, said, pair)
		default:
			require.Contains(t, said, c.says, pair)
			for _, name := range []string{one, other} {
				component := optionName(name) == "With" // or by the name of the component
				require.True(t, component || strings.Contains(said, optionName(name)), "%s: %s", pair, said)
			}
		}
	}
}

// replacesDefault reports whether one of the options makes the default log or the PIDFile of
// isDefaultLog irrelevant. Of two PIDFiles, the last one wins.
func replacesDefault(one, other string) bool {
	later := one == isDefaultLog && strings.HasPrefix(other, "PIDFile") && other != isDefaultLog && other != "PIDFileMode"
	return later || slices.ContainsFunc([]string{one, other}, func(name string) bool {
		return name == "Embedded" || strings.HasPrefix(name, "LogFile") && name != "LogFileMode"
	})
}

// The pairs include all options, because each option has an example.
func TestEachOptionHasAnExample(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../*.go")
	require.NoError(t, err)
	examples, options := optionExamples(), 0
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !f.Name.IsExported() || f.Type.Results == nil || len(f.Type.Results.List) != 1 {
				continue
			}
			if result, ok := f.Type.Results.List[0].Type.(*ast.Ident); ok && result.Name == "Option" {
				require.Contains(t, examples, f.Name.Name)
				options++
			}
		}
	}
	require.Greater(t, options, 30)
}

func TestDocsListTheOptionsThatExcludeEachOther(t *testing.T) {
	rows := []string{"| options | why they are refused together |", "|---|---|"}
	for _, c := range optionConflicts {
		if c.why != "" {
			rows = append(rows, fmt.Sprintf("| `%s`, `%s` | %s |", optionName(c.one), optionName(c.other), c.why))
		}
	}
	pagetest.RequireTable(t, "../docs/life.md", "optionConflicts of options_test.go", rows...)
}

// The same file can have several names.
func TestALogThatIsThePIDFileByAnotherNameIsRefusedBeforeTheStart(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T, dir, pidfile string) (log string){
		"a link to the directory, as /var/run": func(t *testing.T, dir, pidfile string) string {
			require.NoError(t, os.Symlink(dir, dir+"/link"))
			return dir + "/link/x.pid"
		},
		"that link and the state file": func(t *testing.T, dir, pidfile string) string {
			require.NoError(t, os.Symlink(dir, dir+"/link"))
			return dir + "/link/x.state"
		},
		"a hard link": func(t *testing.T, dir, pidfile string) string {
			require.NoError(t, errors.Join(os.WriteFile(pidfile, nil, 0o644), os.Link(pidfile, dir+"/x.log")))
			return dir + "/x.log"
		},
		"a hard link to a state file that was left": func(t *testing.T, dir, pidfile string) string {
			require.NoError(t, errors.Join(os.WriteFile(dir+"/x.state", nil, 0o644), os.Link(dir+"/x.state", dir+"/x.log")))
			return dir + "/x.log"
		},
	} {
		dir := t.TempDir()
		pidfile := filepath.Join(dir, "x.pid")
		log := make(t, dir, pidfile)
		before, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, verb := range []string{"start", "restart"} {
			for _, option := range []string{"log", "errorlog"} {
				got := proctest.Call(t, daemon, "pidfile="+pidfile, option+"="+log, verb)
				require.Equal(t, 1, got.Code, name)
				if verb == "restart" && strings.Contains(got.Stderr, ": unsafe PID file ") {
					continue // the verb then does not look for the daemon
				}
				require.Contains(t, got.Stderr, fmt.Sprintf("wrong option: %s(%q) and PIDFile(%q): the log would be the ", map[string]string{"log": "LogFile", "errorlog": "ErrorLogFile"}[option], log, pidfile), name)
				require.Empty(t, got.Stdout, "%s: no hook was called", name)
			}
		}
		after, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Equal(t, len(before), len(after), name)
	}
}

func TestARestartWithALogThatIsThePIDFileKeepsTheDaemon(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	requireUntouched := proctest.Untouched(t, pidfile)
	got := callVerb(t, pidfile, "log="+pidfile, "restart")
	require.Contains(t, got.Stderr, "the log would be the PID file")
	requireUntouched()
	requireLives(t, p)
}

func TestStdoutAndStderrMayHaveOneLog(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start("errorlog=" + b.log)
	b.awaitSaid("msg=ready")
	b.awaitSaid("OnStart done")
	b.stop()
}

func TestAComponentWithoutAHookIsRefused(t *testing.T) {
	t.Parallel()
	for _, h := range []lifecycle.Hooks{{}, {Name: "db"}} {
		err := lifecycle.Run(nil, lifecycle.PIDFile(""), lifecycle.With(h))
		require.ErrorContains(t, err, fmt.Sprintf("lifecycle: wrong option: With(Hooks{Name: %q}): has no hook; leave it out, or give it one", h.Name))
	}
	err := lifecycle.Run(nil, lifecycle.PIDFile(""), lifecycle.With(lifecycle.Hooks{Name: "component 2", OnStart: fine}), lifecycle.With(lifecycle.Hooks{OnStart: fine}))
	require.ErrorContains(t, err, `With(Hooks{Name: "component 2"}) is given twice`)
}

// Detach is an option for Run. With Main, the verb decides.
func TestTheVerbRunStaysInTheForegroundEvenWithDetach(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "detach=", "run")
	requireRunning(t, pidfile, p.PID())
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, 0, p.Wait())
}
