package cmdline

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var quiet = Flag{"quiet", "print errors only"}

var table = Table{
	{"start", "start it", []Flag{{"oknodo", "the same"}, quiet}},
	{"stop", "stop it", []Flag{quiet}},
	{"status", "what it does", []Flag{{"json", "as JSON"}}},
	{"restart", "both", []Flag{quiet}},
	{"reload", "read again", nil},
	{"help", "print this", nil},
	{"version", "print the version", nil},
}

func TestAVerbAndItsFlagsAreParsed(t *testing.T) {
	for line, want := range map[string]string{
		"start": "start", "start --oknodo --quiet --oknodo": "start oknodo quiet", "status --json": "status json",
		"help": "help", "--help": "help", "-h": "help", "help start": "help", "start --help": "help", "stop --bogus -h": "help",
		"version": "version", "--version": "version",
	} {
		verb, given, err := table.Parse(strings.Fields(line))
		require.NoError(t, err, line)
		got := []string{verb}
		for _, name := range []string{"json", "oknodo", "quiet"} {
			if given[name] {
				got = append(got, name)
			}
		}
		require.Equal(t, want, strings.Join(got, " "), line)
	}
}

func TestAnErrorSuggestsTheNearestVerbOrFlag(t *testing.T) {
	for line, want := range map[string]string{
		"":                "no verb given",
		"strat":           "unknown verb strat; did you mean start?",
		"STOP":            "unknown verb STOP; did you mean stop?",
		"restrat --quiet": "unknown verb restrat; did you mean restart?",
		"--vresion":       "unknown verb --vresion; did you mean version?",
		"-x":              "unknown verb -x",
		"kill":            "unknown verb kill",
		"--oknodo start":  "unknown verb --oknodo; the flags of a verb go after it",
		"strat --help":    "unknown verb strat; did you mean start?",
		"start --foo":     "start takes no --foo; flags of the program go before the verb",
		"start -c x":      "start takes no -c; flags of the program go before the verb",
		"start --oknod":   "start takes no --oknod; did you mean --oknodo?",
		"start -oknodo":   "start takes no -oknodo; did you mean --oknodo?",
		"start --Quiet":   "start takes no --Quiet; did you mean --quiet?",
		"reload --oknodo": "reload takes no --oknodo; flags of the program go before the verb",
		"start --":        "start takes no --; flags of the program go before the verb",
		"stop now":        "unexpected argument now",
	} {
		_, _, err := table.Parse(strings.Fields(line))
		require.EqualError(t, err, want, line)
	}
	_, _, err := table.Parse([]string{""})
	require.EqualError(t, err, "unknown verb ")
	_, _, err = table[:3].Parse([]string{"--version"})
	require.EqualError(t, err, "unknown verb --version", "a program without a version")
}

func TestTheUsageListsEachFlagAndACommonOneOnce(t *testing.T) {
	require.Equal(t, `usage: app [flags] VERB
  start           start it
  start --oknodo  the same
  stop            stop it
  status          what it does
  status --json   as JSON
  restart         both
  reload          read again
  help            print this
  version         print the version
  VERB --quiet    print errors only
`, table.Usage("app"))
}

func TestTheNearestWordHasFewMistakes(t *testing.T) {
	words := []string{"start", "stop", "status", "restart"}
	for typed, want := range map[string]string{
		"start": "start", "strat": "start", "tsart": "start", "startt": "start", "sotp": "stop", "stauts": "status",
		"resart": "restart", "": "", "x": "", "end": "", "relaunch": "", strings.Repeat("start", 100): "", "ſtop": "stop", "数据": "",
	} {
		require.Equal(t, want, Nearest(typed, words), "%q", typed)
	}
}
