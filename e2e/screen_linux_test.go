package e2e

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// screen is a terminal. The test reads all output to it.
type screen struct {
	t           *testing.T
	window, tty *os.File
	proctest.Lines
}

// newScreen makes a screen with that many columns.
func newScreen(t *testing.T, columns int) *screen {
	t.Helper()
	s := &screen{t: t}
	s.window, s.tty = pty(t)
	s.resize(columns)
	go io.Copy(&s.Lines, s.window)
	return s
}

func (s *screen) resize(columns int) {
	s.t.Helper()
	require.NoError(s.t, unix.IoctlSetWinsize(int(s.tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: uint16(columns)}))
}

// verb launches a verb in the foreground of the screen, which shows its output.
func (s *screen) verb(env []string, args ...string) *proctest.Process {
	s.t.Helper()
	return proctest.Launch(s.t, s.on(proctest.Command(daemon, args...), env...))
}

// on connects cmd to the screen.
func (s *screen) on(cmd *exec.Cmd, env ...string) *exec.Cmd {
	cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "NO_COLOR=") })
	cmd.Env = append(append(cmd.Env, "TERM=xterm"), env...)
	cmd.Stdout, cmd.Stderr = s.tty, s.tty
	return inTerminal(cmd, s.tty)
}

func (s *screen) awaitText(text string) {
	s.t.Helper()
	proctest.Eventually(s.t, func() bool { return strings.Contains(s.String(), text) }, "%q on the screen, which got %q", text, s)
}

// awaitWait waits until the screen has shown the text. The text ends in the time of a wait, with
// that number of seconds or a greater one, because a busy machine skips some.
func (s *screen) awaitWait(text string, seconds int) {
	s.t.Helper()
	shown := regexp.MustCompile(regexp.QuoteMeta(text) + ` (\d+) s`)
	proctest.Eventually(s.t, func() bool {
		return slices.ContainsFunc(shown.FindAllStringSubmatch(s.String(), -1), func(match []string) bool {
			n, err := strconv.Atoi(match[1])
			return err == nil && n >= seconds
		})
	}, "%q with %d s or more on the screen, which got %q", text, seconds, s)
}

// requireShows waits until the screen shows the last line of the pattern, and requires that all
// lines match.
func (s *screen) requireShows(pattern string) {
	s.t.Helper()
	last := regexp.MustCompile("^" + pattern + "\n$")
	proctest.Eventually(s.t, func() bool { return last.MatchString(seen(s.String())) }, "%q on the screen, which got %q", pattern, s)
}

// seen returns the lines that a terminal shows for this output.
func seen(text string) string {
	var all, line []rune
	at := 0
	text = strings.ReplaceAll(text, "\x1b[K", "\x00")
	for _, r := range text {
		switch r {
		case '\r':
			at = 0
		case '\n':
			all = append(all, []rune(strings.TrimRight(string(line), " ")+"\n")...)
			line, at = nil, 0
		case '\x00':
			line = line[:at]
		default:
			line = append(line[:at], append([]rune{r}, line[min(at+1, len(line)):]...)...)
			at++
		}
	}
	return string(all) + strings.TrimRight(string(line), " ")
}

// written returns all versions of the progress line.
func (s *screen) written() []string {
	return regexp.MustCompile(`waiting for [^\r\n\x1b]*`).FindAllString(s.String(), -1)
}
