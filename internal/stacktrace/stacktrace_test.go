package stacktrace

import (
	"context"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireReadable checks that each line of a stack is a function, a file and a line, and that the
// functions in want are among them, in this order.
func requireReadable(t *testing.T, stack []byte, want ...string) {
	t.Helper()
	text := string(stack)
	require.Regexp(t, `^(\S+ \S+\.(go|s):\d+\n?)+$`, text)
	require.NotRegexp(t, `0x|goroutine|(?m)^runtime\.|testing\.`, text)
	at := 0
	for _, function := range want {
		found := strings.Index(text[at:], "stacktrace."+function)
		require.GreaterOrEqual(t, found, 0, "%s in\n%s", function, text)
		at += found
	}
}

// bottom is the frame at which the stacks of these tests end.
func bottom(do func()) (stack []byte) {
	defer func() {
		_ = recover()
		stack = OfPanic(".bottom")
	}()
	do()
	return nil
}

//go:noinline
func panics(text string) { panic(text) }

func TestAPanicShowsItsFunctionsAndNothingElse(t *testing.T) {
	t.Parallel()
	requireReadable(t, bottom(func() { panics("boom") }), "panics", "TestAPanicShows")
	requireReadable(t, bottom(func() {
		var none *text
		_ = len(*none)
	}), "TestAPanicShows")
	requireReadable(t, bottom(func() {
		defer func() { panics("twice") }()
		panics("once")
	}), "panics", "TestAPanicShows", "panics")
}

func TestGoexitShowsItsCaller(t *testing.T) {
	t.Parallel()
	stack := make(chan []byte)
	go func() {
		defer func() { stack <- OfPanic(".bottom") }()
		runtime.Goexit()
	}()
	requireReadable(t, <-stack, "TestGoexit")
}

func TestADeepStackIsCut(t *testing.T) {
	t.Parallel()
	var deep func(n int)
	deep = func(n int) {
		if n == 0 {
			panics("deep")
		}
		deep(n - 1)
	}
	stack := string(bottom(func() { deep(500) }))
	require.Equal(t, maxFrames, strings.Count(stack, "\n"))
	require.True(t, strings.HasSuffix(stack, "\n…"))
}

func TestOfLabelReturnsOnlyTheGoroutineWithTheLabel(t *testing.T) {
	t.Parallel()
	release, begun := make(chan struct{}), make(chan struct{})
	defer close(release)
	go pprof.Do(t.Context(), pprof.Labels("test", "the \"one\""), func(context.Context) {
		bottom(func() {
			go blocks(release) // inherits the label
			close(begun)
			waits(release)
		})
	})
	<-begun
	var stack []byte
	for stack == nil || !strings.Contains(string(stack), "waits") { // the goroutine might not wait yet
		stack = OfLabel("test", "the \"one\"", ".bottom")
	}
	requireReadable(t, stack, "waits", "TestOfLabelReturnsOnly")
	require.NotContains(t, string(stack), "blocks")
	require.Empty(t, OfLabel("test", "another", ".bottom"))
	require.Regexp(t, regexp.MustCompile(`^\S+waits \S+:\d+ < \S+TestOfLabelReturnsOnly\S+ \S+:\d+$`), Line(stack))
}

//go:noinline
func waits(release <-chan struct{}) { <-release }

//go:noinline
func blocks(release <-chan struct{}) { <-release }
