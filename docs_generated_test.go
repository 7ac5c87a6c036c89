package lifecycle

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/pidfile"

	"example.com/lifecycle/internal/statefile"
)

// Parts of the pages are made from the code: "make docs" writes them, with LIFECYCLE_UPDATE set, and without it these tests compare.

// update says that what is made from the code is to be written and not compared.
func update() bool { return os.Getenv("LIFECYCLE_UPDATE") != "" }

// requireTable requires that the page has this very table between the marks of that name, or puts it there.
func requireTable(t *testing.T, path, name string, rows ...string) {
	t.Helper()
	begin, end := "<!-- "+name+": make docs -->\n", "<!-- end -->\n"
	before, rest, found := strings.Cut(readPage(t, path), begin)
	require.True(t, found, "%s has no %s", path, begin)
	table, after, found := strings.Cut(rest, end)
	require.True(t, found, "%s has no %s behind %s", path, end, begin)
	want := "\n" + strings.Join(rows, "\n") + "\n\n"
	if update() {
		require.NoError(t, os.WriteFile(path, []byte(before+begin+want+end+after), 0o644))
		return
	}
	if table != want {
		t.Fatalf(`%s must have this table, and "make docs" writes it:`+"\n%s", path, want)
	}
}

// eventText is how the pages call the events of the table.
var eventText = [events]string{
	stopSignal: "TERM, INT", hangup: "HUP", terminalGone: "HUP, terminal gone", reopenSignal: "USR1", ownSignal: "`OnSignal`",
	stopRequest: "other stop request",
}

func TestDocsHaveTheTableOfStatesAndEvents(t *testing.T) {
	actionText := map[action]string{drop: "–", stop: "stop", forceQuit: "quit", reload: "reload", reopen: "reopen", callHook: "call"}
	head := "| phase |"
	for e, text := range eventText {
		require.NotEmpty(t, text, "event %d has no name here", e)
		head += " " + text + " |"
	}
	rows := []string{head, strings.Repeat("|---", int(events)+1) + "|"}
	for phase, actions := range dispatch {
		row := "| " + phaseText(Phase(phase)) + " |"
		for _, act := range actions {
			require.NotEmpty(t, actionText[act], "action %d has no name here", act)
			row += " " + actionText[act] + " |"
		}
		rows = append(rows, row)
	}
	requireTable(t, lifePage, "dispatch of signals.go", rows...)
	for _, text := range actionText {
		require.Contains(t, readPage(t, lifePage), "*"+text+"*", "what it means")
	}
}

// What leads from one phase to the next in the picture is what the table says.
func TestThePictureOfTheStatesIsThatOfTheTable(t *testing.T) {
	name := func(p Phase) string { return strings.Trim(phaseText(p), "`") }
	// what returns the events that do that in a phase.
	what := func(p Phase, does action) string {
		var texts []string
		for e, act := range dispatch[p] {
			if act == does {
				texts = append(texts, eventText[e])
			}
		}
		return strings.Join(texts, ",<br>")
	}
	rows := []string{
		"```mermaid", "stateDiagram-v2",
		"    [*] --> Starting: Run",
		"    Starting --> Ready: every OnStart,<br>the bodies, ReadyWhen",
		"    Ready --> Reloading: " + what(Ready, reload),
		"    Reloading --> Ready: verdict",
	}
	for p := range dispatch {
		if stops := what(Phase(p), stop); stops != "" {
			rows = append(rows, "    "+name(Phase(p))+" --> Stopping: "+stops)
		}
	}
	rows = append(rows,
		"    Stopping --> Exited: every OnStop,<br>the bodies return,<br>every OnExit",
		fmt.Sprintf("    Stopping --> Exited: %s again<br>after %s: at once,<br>no hook runs", what(Stopping, forceQuit), timeText(forceQuitAfter)),
		"    Exited --> [*]", "```")
	requireTable(t, lifePage, "states of signals.go", rows...)
}

func TestDocsSayHowLongThingsTake(t *testing.T) {
	c, err := newPlan(nil, []Option{Embedded()})
	require.NoError(t, err)
	require.Equal(t, time.Second, grace(4*time.Second), "a quarter")
	longest := grace(time.Hour)
	requireTable(t, lifePage, "times",
		"| what | by default |",
		"|---|---|",
		"| `StartTimeout` | "+timeText(c.startTimeout)+" |",
		"| `ReloadTimeout` | "+timeText(c.reloadTimeout)+" |",
		"| `StopTimeout` | "+timeText(c.stopTimeout)+" |",
		"| `StopDelay` | "+timeText(c.stopDelay)+" |",
		"| grace behind each of the three timeouts | a quarter of it, at most "+timeText(longest)+" |",
		"| a start without `OnStart` and `ReadyWhen` is ready after | "+timeText(settleTime)+" |",
		"| `ReadyWhen` is asked again after | "+timeText(askAgain)+" |",
		"| another stop signal quits after | "+timeText(forceQuitAfter)+" |",
		"| handlers outlive `Run` by | "+timeText(signalGrace)+" |",
		"| the verb stop waits beyond the deadline of the stop for | "+timeText(handshake.StopMargin)+" |",
	)
	requireTimes(t, lifePage,
		c.startTimeout, c.reloadTimeout, c.stopTimeout, c.stopDelay, longest, settleTime, askAgain, forceQuitAfter, signalGrace, handshake.StopMargin)
	requireTimes(t, pidFilePage, pidfile.AcquireTime, patienceForSilence, statefile.RetryTime)
	requireTimes(t, signalsPage, forceQuitAfter, signalGrace)
}
