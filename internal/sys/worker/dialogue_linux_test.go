package worker

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

type greeting struct {
	Hello Hello
	More  bool
}

func TestTheFirstHelloOfAWorkerCounts(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("talk"))
	s.pid()
	s.say("hello")
	require.Equal(t, greeting{Hello{7, "v2", []byte("/run/\xff.pid"), true, "no reason"}, true}, lineOf[greeting](s, "hello "))
	s.say("replace")
	require.Equal(t, "<nil>", s.line("told:"))
	s.line("replaced")
	s.say("term")
	require.Equal(t, "false", s.line("more hello:"))
}

// The supervisor drops a long message. The texts of a program can be of any length.
func TestLongTextsOfAHelloAreCut(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("long"))
	s.pid()
	s.say("hello")
	got := lineOf[greeting](s, "hello ")
	require.True(t, got.More)
	require.Equal(t, `v\xff`+strings.Repeat("x", maxText-len(`v\xff`)), got.Hello.Version)
	require.Equal(t, strings.Repeat(`\xff`, maxText/len(`\xff`)), got.Hello.Refuses)
	s.say("term")
	require.Contains(t, s.line("ended:"), "terminated")
}

func TestRepeatedReplaceAndFinalHaveNoEffect(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("talk"))
	s.pid()
	s.say("hello")
	s.line("hello ")
	for _, what := range []string{"replace", "replace"} {
		s.say(what)
		require.Equal(t, "<nil>", s.line("told:"))
	}
	s.line("replaced")
	s.say("final")
	s.say("replace")
	require.Contains(t, s.line("told:"), "broken pipe")
	s.say("term")
	require.Contains(t, s.line("ended:"), "terminated")
}

func TestAWorkerAnswersWhetherItsProgramCanAdoptTheState(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("talk"))
	s.pid()
	s.say("hello")
	s.line("hello ")
	s.say("replace") // the worker answers only after it has got "replace"
	s.say("ask")
	require.Equal(t, "<nil>", s.line("answer:"))
	s.say("ask badly")
	require.Equal(t, `it is bad: "ask badly"`, s.line("answer:"))
	s.say("ask at length")
	require.Equal(t, "<nil>", s.line("answer:"), "a state of 1 MiB")
}

func TestAQuestionToAWorkerThatEndsIsAnError(t *testing.T) {
	t.Parallel()
	o := own("wait")
	o.Before = "outlive"
	s := startSupervisor(t, o)
	s.pid()
	s.line("waits")
	require.NoError(t, s.worker.Kill())
	s.say("ask")
	require.Regexp(t, "^(the worker ended before it answered|write socket: broken pipe)$", s.line("answer:"))
}

func TestUnknownMessagesAreIgnored(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("lies"))
	s.pid()
	s.say("hello")
	require.Equal(t, greeting{Hello{Protocol: 1}, true}, lineOf[greeting](s, "hello "))
	s.say("term")
	s.line("ended:")
}

func TestASupervisedProgramSendsAndReceivesNoMessages(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, shell("exec sleep 30"))
	s.pid()
	s.say("hello")
	require.Equal(t, greeting{}, lineOf[greeting](s, "hello "))
	s.say("replace")
	require.Equal(t, "unsupported operation", s.line("told:"))
	s.say("ask")
	require.Equal(t, "unsupported operation", s.line("answer:"))
}

func TestAWorkerOfAnotherFile(t *testing.T) {
	t.Parallel()
	o := own("look")
	o.Path = copyOf(t)
	got := lineOf[looks](startSupervisor(t, o), "look ")
	require.Equal(t, "program", got.Comm)
	require.Equal(t, o.Path, got.Exe)
	require.Equal(t, "/somewhere/worker an argument ", got.Args)
	require.Equal(t, []string{noSignals, noSignals}, []string{got.Ignored, got.Blocked})
}

// A loader such as musl's or glibc's executes the other file too, with the same options.
func TestAWorkerOfAnotherFileIsExecutedByTheSameLoader(t *testing.T) {
	t.Parallel()
	loader := proctest.Loader(t)
	o := own("look")
	o.Path = copyOf(t)
	s := startSupervisor(t, o, func(cmd *exec.Cmd) {
		cmd.Args = append([]string{loader, "--inhibit-cache", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = loader
	})
	got := lineOf[looks](s, "look ")
	require.Equal(t, o.Path+" an argument ", got.Args)
	require.Equal(t, "program", got.Comm)
	require.NotEqual(t, o.Path, got.Exe, "the loader")
}

func TestStartReturnsWhyAnotherFileWasNotExecuted(t *testing.T) {
	t.Parallel()
	for path, text := range map[string]string{
		"/no/such/program": "no such file or directory",
		t.TempDir():        "permission denied",
		written(t, "text", "no program\n", 0o755):   "exec format error",
		written(t, "closed", "no program\n", 0o644): "permission denied",
	} {
		_, err := Start(Spec{Args: []string{"x"}, Path: path})
		require.EqualError(t, err, "cannot start x: fork/exec "+path+": "+text)
	}
}

func TestAFunctionRunsInTheThreadThatForks(t *testing.T) {
	t.Parallel()
	var first, second int
	OnForkThread(func() { first = unix.Gettid() })
	OnForkThread(func() { second = unix.Gettid() })
	require.Equal(t, first, second)
	p, err := Start(Spec{Args: []string{"sh", "-c", "read x"}, Program: "/bin/sh", Umask: -1})
	require.NoError(t, err)
	require.NoError(t, p.Executed(t.Context()))
	children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", first))
	require.NoError(t, err)
	require.Contains(t, " "+string(children), fmt.Sprintf(" %d ", p.PID))
	_, _ = p.Wait()
}

func FuzzMessagesOfAWorker(f *testing.F) {
	f.Add([]byte(`{"hello":{"version":"v1"}}`))
	f.Add([]byte(`{"answer":{"id":1,"reason":"x"}}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		d := newDialogue()
		_, answers := d.talk.open()
		for range 2 { // it never blocks
			d.handle(json.RawMessage(message))
		}
		require.LessOrEqual(t, len(answers), 1)
		d.endDialogue()
	})
}
