package lifecycletest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/lifecycletest"
)

// greeter is a program that reads its greeting from a file when it starts and at each reload.
type greeter struct {
	path     string
	greeting atomic.Value
}

func (g *greeter) load(context.Context) error {
	text, err := os.ReadFile(g.path)
	if err == nil && len(text) == 0 {
		err = errors.New("no greeting")
	}
	if err != nil {
		return err
	}
	g.greeting.Store(strings.TrimSpace(string(text)))
	return nil
}

// options returns the options for lifecycle.Main in main, and for Start in a test.
func (g *greeter) options() []lifecycle.Option {
	return []lifecycle.Option{lifecycle.OnStart(g.load), lifecycle.OnReload(g.load)}
}

// testGreeter is the test of greeter. In a test file its name would be TestGreeter.
func testGreeter(t *testing.T) {
	g := &greeter{path: filepath.Join(t.TempDir(), "greeting")}
	write := func(text string) { require.NoError(t, os.WriteFile(g.path, []byte(text), 0o600)) }

	write("hello\n")
	// The life is ready when Start returns. It is stopped at the end of the test.
	life := lifecycletest.Start(t, nil, g.options()...)
	require.Equal(t, "hello", g.greeting.Load())

	write("good morning\n")
	require.NoError(t, life.Reload())
	require.Equal(t, "good morning", g.greeting.Load())

	write("")
	require.ErrorIs(t, life.Reload(), lifecycle.ErrReload)
	require.Equal(t, "good morning", g.greeting.Load(), "the old greeting stays")
}

// The test of a program uses the functions that the program passes to lifecycle.Main. It builds and
// executes no program, sends no signal and locks no file. So such tests can run in parallel.
func Example() {
	var t *testing.T // the argument of the test
	testGreeter(t)
}
