package supervise

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest/pagetest"
)

const upgradePage = "../../docs/upgrade.md"

// The page names the states, events and actions of an upgrade like this.
var (
	upgradeStateText = [upgradeStates]string{
		serving: "serving", trying: "trying", asking: "asking", dropping: "dropping", ending: "ending (alone)",
		tryingAlone: "trying (alone)", askingAlone: "asking (alone)", droppingAlone: "dropping (alone)",
		restoring: "restoring (alone)", frozen: "frozen", stopped: "stopped",
	}
	upgradeEventText = [upgradeEvents]string{
		upgradeRequested: "upgrade", upgradeAloneRequested: "upgrade, NoOverlap", candidateReady: "new worker ready",
		candidateApproved: "new worker approved", candidateAnswered: "probe answered", candidateRefused: "refused or given up",
		candidateEnded: "new worker ended", workerEnded: "worker ended", workerReady: "worker ready",
		workerLost: "policy gives up", drainedEnded: "drained worker ended", freezeRequested: "execve begins",
		thawed: "execve failed", stopAsked: "stop",
	}
	upgradeActionText = [upgradeActions]string{
		noAction: "–", onlyMove: "", startCandidate: "start", askCandidate: "ask", endCandidate: "end", promote: "promote",
		endOld: "end old", restoreOld: "restore", reportResult: "report", refuse: "refuse", endAll: "end all",
	}
)

func TestDocsHaveTheTableOfAnUpgrade(t *testing.T) {
	head := "| event |"
	for s := range upgradeStates {
		require.NotEmpty(t, upgradeStateText[s], "state %d has no name here", s)
		head += " " + upgradeStateText[s] + " |"
	}
	rows := []string{head, strings.Repeat("|---", int(upgradeStates)+1) + "|"}
	for e := range upgradeEvents {
		require.NotEmpty(t, upgradeEventText[e], "event %d has no name here", e)
		row := "| " + upgradeEventText[e] + " |"
		for s := range upgradeStates {
			row += " " + stepText(s, upgradeSteps[s][e]) + " |"
		}
		rows = append(rows, row)
	}
	pagetest.RequireTable(t, upgradePage, "upgradeSteps of upgrade.go", rows...)
	for _, text := range upgradeActionText {
		if text == "" { // the next state says all
			continue
		}
		require.Contains(t, pagetest.Read(t, upgradePage), "*"+text+"*", "what it means")
	}
}

// stepText returns a cell: the action, and the next state if it is another one.
func stepText(from upgradeState, step upgradeStep) string {
	text := upgradeActionText[step.act]
	if step.act == noAction || step.act == refuse || step.to == from {
		return text
	}
	return strings.TrimSpace(text + " → " + upgradeStateText[step.to])
}
