package lifecycletest_test

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// judged is the testing.TB of a test that may fail. It records the failures.
type judged struct {
	testing.TB // the test that checks it

	failures []string
	fatal    bool
	cleanups []func()
	output   proctest.Lines
}

// judge runs test as go test does, with its cleanups.
func judge(t *testing.T, test func(tb testing.TB)) *judged {
	t.Helper()
	j := &judged{TB: t}
	run := func(f func()) {
		done := make(chan struct{})
		go func() { // FailNow ends the goroutine that calls it
			defer close(done)
			f()
		}()
		<-done
	}
	run(func() { test(j) })
	for i := len(j.cleanups) - 1; i >= 0; i-- {
		run(j.cleanups[i])
	}
	return j
}

func (j *judged) Helper() {}

func (j *judged) Cleanup(f func()) { j.cleanups = append(j.cleanups, f) }

func (j *judged) Output() io.Writer { return &j.output }

func (j *judged) Errorf(format string, args ...any) {
	j.failures = append(j.failures, fmt.Sprintf(format, args...))
}

func (j *judged) Fatalf(format string, args ...any) {
	j.Errorf(format, args...)
	j.fatal = true
	runtime.Goexit()
}

// passes requires that the test has passed.
func (j *judged) passes(t *testing.T) {
	t.Helper()
	require.Empty(t, j.failures)
}

// failsOnce requires that the test has failed for this one reason. fatal is whether it must have
// failed at once.
func (j *judged) failsOnce(t *testing.T, fatal bool, text string) {
	t.Helper()
	require.Len(t, j.failures, 1)
	require.Contains(t, j.failures[0], text)
	require.Equal(t, fatal, j.fatal, "at once")
}
