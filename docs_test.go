package lifecycle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc64"
	"math/bits"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest/pagetest"
	"example.com/lifecycle/internal/statefile"
)

// These tests compare the tables and numbers of the pages with the code.

const (
	lifePage    = "docs/life.md"
	pidFilePage = "docs/pidfile.md"

	handshakePage = "docs/handshake.md"
	signalsPage   = "docs/signals.md"
)

// phaseText contains the name of the constant of each phase.
func phaseText(p Phase) string {
	name := p.String()
	return "`" + strings.ToUpper(name[:1]) + name[1:] + "`"
}

func TestDocsNameEveryPhase(t *testing.T) {
	var want []string
	for phase := range Phase(len(phaseNames)) {
		want = append(want, phaseText(phase))
	}
	require.Equal(t, want, pagetest.Columns(t, lifePage, "## States", "phase"))
}

// requireTimes requires that the page names exactly these times.
func requireTimes(t *testing.T, path string, times ...time.Duration) {
	t.Helper()
	want, got := map[string]bool{}, map[string]bool{}
	for _, d := range times {
		want[timeText(d)] = true
	}
	for _, text := range regexp.MustCompile(`\b\d+ m?s\b`).FindAllString(pagetest.Read(t, path), -1) {
		got[text] = true
	}
	require.Equal(t, want, got, "the times on %s", path)
}

func timeText(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprintf("%d ms", d/time.Millisecond)
}

// The test reads the record by the rules that the page contains for other languages.
func TestDocsDescribeHowToReadARecord(t *testing.T) {
	record, err := Status{Name: "echod", PID: 4127, Text: strings.Repeat("text ", 2000)}.encode(nil)
	require.NoError(t, err)
	require.Len(t, record, 4096)
	require.Regexp(t, `,"sum":"[0-9a-f]{16}"}\n$`, string(record))
	body, sum := record[:4069], string(record[4069+len(`,"sum":"`):4096-len(`"}`)-1])
	require.Equal(t, sum, fmt.Sprintf("%016x", crc64.Checksum(body, crc64.MakeTable(crc64.ECMA))))
	require.Equal(t, uint64(0x42F0E1EBA9EA3693), bits.Reverse64(crc64.ECMA))
	require.Equal(t, "995dc9bbdf1939fa", fmt.Sprintf("%x", crc64.Checksum([]byte("123456789"), crc64.MakeTable(crc64.ECMA))))
	var object struct {
		PID       int `json:"pid"`
		Text, Sum string
	}
	require.NoError(t, json.Unmarshal(record, &object))
	require.Equal(t, 4127, object.PID)
	require.Equal(t, sum, object.Sum)
	require.True(t, strings.HasSuffix(object.Text, "…"))

	page := pagetest.Read(t, pidFilePage)
	for _, fact := range []string{
		"exactly 4096 bytes", "The 26 bytes before it", "the 4069 bytes before these 26", "0x42F0E1EBA9EA3693", "`995dc9bbdf1939fa`",
		fmt.Sprintf("version of the format: %d |", recordFormat),
	} {
		require.Contains(t, page, fact)
	}
}

func TestDocsShowTheAnswerOfStatus(t *testing.T) {
	example := regexp.MustCompile("(?s)```json\n(.*?\n)```").FindStringSubmatch(pagetest.Read(t, pidFilePage))
	require.NotNil(t, example)
	var r report
	d := json.NewDecoder(strings.NewReader(example[1]))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&r))
	var again bytes.Buffer
	e := json.NewEncoder(&again)
	e.SetIndent("", "  ")
	require.NoError(t, e.Encode(r))
	require.Equal(t, again.String(), example[1])
}

// eventText contains the name of each event as the pages write it.
var eventText = [events]string{
	stopSignal: "TERM, INT", hangup: "HUP", terminalGone: "HUP, terminal gone", reopenSignal: "USR1", upgradeSignal: "USR2", ownSignal: "`OnSignal`",
	stopRequest: "other stop request",
}

func TestDocsHaveTheTableOfStatesAndEvents(t *testing.T) {
	actionText := map[action]string{drop: "–", stop: "stop", forceQuit: "quit", reload: "reload", reopen: "reopen", upgrade: "upgrade", callHook: "call"}
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
	pagetest.RequireTable(t, lifePage, "dispatch of signals.go", rows...)
	for _, text := range actionText {
		require.Contains(t, pagetest.Read(t, lifePage), "*"+text+"*", "the meaning of the action")
	}
}

// The diagram and the table contain the same events between two phases.
func TestDocsHaveTheDiagramOfTheStates(t *testing.T) {
	name := func(p Phase) string { return strings.Trim(phaseText(p), "`") }
	// causes returns the names of the events that cause the action in the phase.
	causes := func(p Phase, does action) string {
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
		"    Ready --> Reloading: " + causes(Ready, reload),
		"    Reloading --> Ready: verdict",
	}
	for p := range dispatch {
		if stops := causes(Phase(p), stop); stops != "" {
			rows = append(rows, "    "+name(Phase(p))+" --> Stopping: "+stops)
		}
	}
	rows = append(rows,
		"    Stopping --> Exited: every OnStop,<br>the bodies return,<br>every OnExit",
		fmt.Sprintf("    Stopping --> Exited: %s again<br>after %s: at once,<br>no hook runs", causes(Stopping, forceQuit), timeText(forceQuitAfter)),
		"    Exited --> [*]", "```")
	pagetest.RequireTable(t, lifePage, "states of signals.go", rows...)
}

func TestDocsNameTheTimeLimits(t *testing.T) {
	c, err := newPlan(nil, []Option{Embedded()})
	require.NoError(t, err)
	require.Equal(t, time.Second, grace(4*time.Second), "a quarter")
	longest := grace(time.Hour)
	pagetest.RequireTable(t, lifePage, "times",
		"| what | by default |",
		"|---|---|",
		"| `StartTimeout` | "+timeText(c.startTimeout)+" |",
		"| `ReloadTimeout` | "+timeText(c.reloadTimeout)+" |",
		"| `StopTimeout` | "+timeText(c.stopTimeout)+" |",
		"| `StopDelay` | "+timeText(c.stopDelay)+" |",
		"| grace after each of the three timeouts | a quarter of it, at most "+timeText(longest)+" |",
		"| a start without `OnStart` and `ReadyWhen` is ready after | "+timeText(settleTime)+" |",
		"| `ReadyWhen` is asked again after | "+timeText(askAgain)+" |",
		"| another stop signal ends the process at once if it arrives later than the first by | "+timeText(forceQuitAfter)+" |",
		"| the signal handlers stay after the end of `Run` for | "+timeText(signalGrace)+" |",
		"| after the deadline of the stop, the verb stop waits for another | "+timeText(handshake.StopMargin)+" |",
	)
	requireTimes(t, lifePage,
		c.startTimeout, c.reloadTimeout, c.stopTimeout, c.stopDelay, longest, settleTime, askAgain, forceQuitAfter, signalGrace, handshake.StopMargin)
	requireTimes(t, pidFilePage, pidfile.AcquireTime, patienceForSilence, statefile.RetryTime)
	requireTimes(t, signalsPage, forceQuitAfter, signalGrace)
}
