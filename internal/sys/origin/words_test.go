package origin

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheVerbIsReplacedOnlyIfItIsUnambiguous(t *testing.T) {
	for call, want := range map[string]string{
		"restart":                         "run",
		"-c b.yaml restart":               "-c b.yaml run",
		"restart -c b.yaml":               "run -c b.yaml",
		"-name x restart -- python3 f.py": "-name x run -- python3 f.py",
		"service restart":                 "service run",
		"service restart now":             "",
		"-name restart restart":           "",
		"-name x restart -- echo restart": "",
		"-name x status":                  "",
		"":                                "",
	} {
		got, found := WithVerb(strings.Fields(call), []string{"restart"}, "run")
		require.Equal(t, want != "", found, call)
		if found {
			require.Equal(t, want, strings.Join(got, " "))
		} else {
			require.Equal(t, strings.Fields(call), got)
		}
	}
	got, found := WithVerb([]string{"-v", "start", "--oknodo"}, []string{"start", "--oknodo"}, "run")
	require.True(t, found)
	require.Equal(t, []string{"-v", "run"}, got)
}

func TestAFlagIsAWordWithADashOrAValue(t *testing.T) {
	require.True(t, HasFlag([]string{"service", "-c"}))
	require.True(t, HasFlag([]string{"--config=x"}))
	require.True(t, HasFlag([]string{"config=x"}))
	require.False(t, HasFlag([]string{"service", "daemon"}))
	require.False(t, HasFlag(nil))
}

func TestContainsRequiresTheOrderOfTheWords(t *testing.T) {
	args := []string{"a", "b", "a", "c"}
	for words, want := range map[string]bool{"": true, "a": true, "a a c": true, "b a": true, "c a": false, "b b": false, "d": false} {
		require.Equal(t, want, Contains(args, strings.Fields(words)), words)
	}
}
