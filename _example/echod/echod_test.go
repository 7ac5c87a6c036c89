package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/lifecycletest"
)

// These tests run the whole program in the test process, as main assembles it. The program uses a
// real address and real files, but no PID file. It receives only the signals that its own test
// sends. Therefore all tests run in parallel.

const usual = `{"listen": "127.0.0.1:0", "greeting": "hello"}`

// running is an echod that a test has started.
type running struct {
	*lifecycletest.Life
	t      *testing.T
	config string // path of its configuration file
	log    string
	addr   string
}

// start starts an echod, which stops at the end of the test.
func start(t *testing.T, config string, opts ...lifecycle.Option) *running {
	t.Helper()
	dir := t.TempDir()
	e := &running{t: t, config: filepath.Join(dir, "echod.json"), log: filepath.Join(dir, "echod.log")}
	e.write(config)
	log, err := os.OpenFile(e.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { log.Close() })
	level := new(slog.LevelVar)
	srv, own := echod(e.config, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})), level.Set)
	e.Life = lifecycletest.Start(t, nil, append(own, opts...)...)
	e.addr = srv.listener.Addr().String()
	return e
}

// refused returns the error of a start that must fail.
func refused(t *testing.T, config string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "echod.json")
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
	_, opts := echod(path, slog.New(slog.DiscardHandler), func(slog.Level) {})
	err := lifecycle.Run(nil, append(opts, lifecycle.Embedded())...)
	require.Error(t, err)
	return err
}

func (e *running) write(config string) {
	e.t.Helper()
	require.NoError(e.t, os.WriteFile(e.config, []byte(config), 0o600))
}

func (e *running) get(path string) string {
	e.t.Helper()
	response, err := http.Get("http://" + e.addr + path)
	require.NoError(e.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(e.t, err)
	require.Equal(e.t, http.StatusOK, response.StatusCode)
	return string(text)
}

// hand starts a request to echod and does not send the body. It returns when echod handles the
// request.
func (e *running) hand(length int) (conn net.Conn, answers *bufio.Reader) {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.addr)
	require.NoError(e.t, err)
	e.t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "POST /echo HTTP/1.1\r\nHost: echod\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", length)
	require.NoError(e.t, err)
	answers = bufio.NewReader(conn)
	response, err := http.ReadResponse(answers, nil)
	require.NoError(e.t, err)
	require.Equal(e.t, http.StatusContinue, response.StatusCode, "it asks for the body")
	return conn, answers
}

func TestEchodAnswersAsSoonAsItHasStarted(t *testing.T) {
	t.Parallel()
	e := start(t, usual)
	assert.Equal(t, "hello\n", e.get("/"))
	assert.Equal(t, "ok\n", e.get("/healthz"))
}

func TestAReloadAppliesTheConfigurationAsAWhole(t *testing.T) {
	t.Parallel()
	e := start(t, usual)
	e.get("/healthz")
	log, err := os.ReadFile(e.log)
	require.NoError(t, err)
	require.NotContains(t, string(log), "msg=request")

	e.write(`{"listen": "127.0.0.1:0", "greeting": "good morning", "level": "debug"}`)
	require.NoError(t, e.Reload())
	assert.Equal(t, "good morning\n", e.get("/"))
	require.NoError(t, e.Stop()) // the request has been logged when Stop returns
	log, err = os.ReadFile(e.log)
	require.NoError(t, err)
	assert.Contains(t, string(log), "msg=request method=GET path=/ ")
}

func TestABadReloadKeepsTheConfigurationAndNamesFileLineAndField(t *testing.T) {
	t.Parallel()
	e := start(t, usual)
	for config, want := range map[string]lifecycle.HookError{
		"{\n\"listen\": \"127.0.0.1:0\",\n\"greting\": \"bye\"\n}": {
			Component: "config", Hook: "OnCheck",
			Err: errors.New(e.config + `:3: unknown field "greting"`),
		},
		"{\n\"greeting\": \"bye\",\n\"listen\": \"127.0.0.1:1\"\n}": {
			Component: "config", Hook: "OnReload",
			Err: errors.New(e.config + `:3: field "listen": cannot change from 127.0.0.1:0 to 127.0.0.1:1 on reload; restart echod`),
		},
	} {
		e.write(config)
		err := e.Reload()
		require.ErrorIs(t, err, lifecycle.ErrReload)
		require.EqualError(t, err, want.Error())
		assert.Equal(t, "hello\n", e.get("/"))
	}
	e.write(`{"listen": "127.0.0.1:0", "greeting": "bye"}`)
	require.NoError(t, e.Reload(), "and a good one is still taken")
	assert.Equal(t, "bye\n", e.get("/"))
}

func TestABadConfigurationFailsTheStart(t *testing.T) {
	t.Parallel()
	err := refused(t, "{\n\"lisen\": \":80\"\n}")
	var failed *lifecycle.HookError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, []string{"config", "OnStart"}, []string{failed.Component, failed.Hook})
	assert.ErrorContains(t, err, `echod.json:2: unknown field "lisen"`)
}

func TestAnAddressInUseFailsTheStart(t *testing.T) {
	t.Parallel()
	first := start(t, usual)
	err := refused(t, fmt.Sprintf(`{"listen": %q}`, first.addr))
	var failed *lifecycle.HookError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, []string{"http", "OnStart"}, []string{failed.Component, failed.Hook})
	assert.ErrorIs(t, err, syscall.EADDRINUSE)
	assert.Equal(t, "hello\n", first.get("/"), "the first one answers on")
}

func TestARequestInProgressIsAnsweredDuringTheStop(t *testing.T) {
	t.Parallel()
	e := start(t, usual)
	conn, answers := e.hand(len("world"))
	e.Signal(syscall.SIGTERM)
	require.Eventually(t, func() bool {
		probe, err := net.Dial("tcp", e.addr)
		if err == nil {
			probe.Close()
		}
		return err != nil
	}, time.Minute, time.Millisecond, "it takes no new connection")
	assert.Equal(t, lifecycle.Stopping, e.Phase())

	_, err := io.WriteString(conn, "world")
	require.NoError(t, err)
	response, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "hello, world\n", string(text))
	require.NoError(t, e.Stop())
}

func TestARequestThatHangsIsAbortedAfterTheTimeOfTheStop(t *testing.T) {
	t.Parallel()
	e := start(t, usual, lifecycle.StopTimeout(200*time.Millisecond))
	_, answers := e.hand(len("never"))
	err := e.Stop()
	require.ErrorIs(t, err, lifecycle.ErrStopTimeout)
	var failed *lifecycle.HookError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, []string{"http", "OnStop"}, []string{failed.Component, failed.Hook}, "the drain")
	_, err = http.ReadResponse(answers, nil)
	assert.Error(t, err, "the connection is cut")
}
