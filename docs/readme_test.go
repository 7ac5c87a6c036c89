//go:build unix

package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// typed is a command that the README shows after a prompt, with its output.
type typed struct {
	command string
	answer  string // without numbers, times and directories, which differ in each run
	exit    string // "" where it is not shown
}

// shownInREADME returns the commands in the block of the README that shows that program.
func shownInREADME(t *testing.T, program string) (block []typed) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, indented := range regexp.MustCompile(`(?m)(?:^    .*\n)+`).FindAllString(string(text), -1) {
		if !strings.HasPrefix(indented, "    $ ") {
			continue
		}
		commands := readTyped(indented)
		of, _, _ := strings.Cut(commands[0].command, " ")
		require.Contains(t, []string{"echod", "guard"}, of, "no test compares the output of this program")
		if of == program {
			require.Empty(t, block, "the README shows %s twice", program)
			block = commands
		}
	}
	require.NotEmpty(t, block, "the README does not show %s", program)
	return block
}

// readTyped parses a line that begins with "$ " as a command, and the indented lines after it as
// the output. A number after a gap is the exit code. The text after the number is a remark.
func readTyped(text string) (commands []typed) {
	exit := regexp.MustCompile(`(?:\s{2,}|^\()exit (\d+).*$`)
	open := false
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "    ")
		command, found := strings.CutPrefix(line, "$ ")
		switch {
		case found:
			commands = append(commands, typed{command: timeless(command)})
			open = true
		case open:
			last := &commands[len(commands)-1]
			if code := exit.FindStringSubmatch(line); code != nil {
				last.exit = code[1]
				line = exit.ReplaceAllString(line, "")
				open = line != "" // the tour prints it on a line of its own; log lines follow
			}
			if line != "" {
				last.answer += timeless(line) + "\n"
			}
		}
	}
	return commands
}

// timeless returns the line without the parts that differ in each run.
func timeless(line string) string {
	for _, replace := range [][2]string{
		{`/\S*/(\w+\.\w+)`, "/$1"},     // the directory of a file
		{`\b(\d+[dhms])+\b`, "0s"},     // for 3h12m
		{`\b\d+(\.\d+)? m?s\b`, "0 s"}, // 9 ms
		{`\d+`, "0"},
	} {
		line = regexp.MustCompile(replace[0]).ReplaceAllString(line, replace[1])
	}
	return line
}

// assertShown fails the test if the transcript lacks a command or an output that the README shows,
// or has them in another order.
func assertShown(t *testing.T, program, transcript string) {
	t.Helper()
	happened := readTyped(transcript)
	for _, want := range shownInREADME(t, program) {
		if !strings.HasPrefix(want.command, "kill ") {
			assert.NotEmpty(t, want.exit, "the README does not show the exit code of %q", want.command)
		}
		var last []typed // the commands that the output could belong to
		for len(happened) > 0 && happened[0] != want {
			if happened[0].command == want.command {
				last = append(last, happened[0])
			}
			happened = happened[1:]
		}
		if len(happened) == 0 {
			t.Errorf("README.md shows\n%+v\nbut after what it shows before that, these were:\n%+v", want, last)
			return
		}
		happened = happened[1:]
	}
}

func TestTheREADMEIsParsedAsCommandsAndOutput(t *testing.T) {
	t.Parallel()
	shown := readTyped("    $ echod stop\n    echod: stopped (pid 12, 1.2 s)     exit 0, and so on\n      more /run/echod.pid 3h12m\n    $ kill -9 13\n    $ true\n")
	require.Equal(t, []typed{{"echod stop", "echod: stopped (pid 0, 0 s)\n  more /echod.pid 0s\n", "0"}, {"kill -0 0", "", ""}, {"true", "", ""}}, shown)
	tour := readTyped("\n1. Stop it.\n\n$ echod stop\n    echod: stopped (pid 4, 3 ms)\n      more /tmp/x/echod.pid 0s\n    (exit 0)\n    INFO stopped\n")
	require.Equal(t, shown[:1], tour)
	require.NotEqual(t, readTyped("$ echod stop\n    (exit 7)\n"), readTyped("$ echod stop\n    (exit 0)\n"))
}

// driveGuardOfTheREADME runs the commands that the README shows for the guard.
func driveGuardOfTheREADME(t *testing.T, program string) {
	dir := t.TempDir()
	pidfile := filepath.Join(dir, "flaky.pid")
	endInBackground(t, pidfile)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "flaky.sh"), []byte("exec sleep 60\n"), 0o644))
	var transcript strings.Builder
	guard := func(args ...string) string {
		all := append([]string{"-name", "flaky"}, args...)
		p := startExample(t, dir, program, append([]string{"-pidfile", pidfile, "-log", filepath.Join(dir, "flaky.log")}, all...)...)
		code := p.wait()
		return fmt.Sprintf("$ guard %s\n%s(exit %d)\n", strings.Join(all, " "), p.out, code)
	}
	transcript.WriteString(guard("start", "--", "sh", "flaky.sh"))
	var worker int
	_, err := fmt.Sscanf(regexp.MustCompile(`worker \d+`).FindString(guard("status")), "worker %d", &worker)
	require.NoError(t, err, "%s", &transcript)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	fmt.Fprintf(&transcript, "$ kill -9 %d\n", worker)
	var status string
	require.Eventually(t, func() bool {
		status = guard("status")
		return strings.Contains(status, "ready") && strings.Contains(status, "1 restart ")
	}, examplePatience, time.Millisecond)
	transcript.WriteString(status)
	transcript.WriteString(guard("stop"))
	assertShown(t, "guard", transcript.String())
}
