//go:build unix

package docs

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
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

func driveEchod(t *testing.T, program string) {
	const good = `{"listen": "127.0.0.1:0", "greeting": "hello"}`
	setup := func(t *testing.T, config string) (dir string) {
		dir = t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "echod.json"), []byte(config), 0o600))
		return dir
	}
	echod := func(t *testing.T, dir string, args ...string) *exampleProcess {
		return startExample(t, dir, program, append([]string{"-pidfile", "echod.pid"}, args...)...)
	}

	t.Run("its own tests", func(t *testing.T) {
		exampleGo(t, "test", "-vet=off", "./_example/echod")
	})

	t.Run("answers the request in hand over TERM", func(t *testing.T) {
		dir := setup(t, good)
		p := echod(t, dir, "run")
		p.waitFor("msg=ready")
		addr := p.waitFor(`msg=listening addr=(\S+)`)[1]

		// The server asks for the body with 100 Continue. From then on it handles the request.
		ctx, cancel := context.WithTimeout(t.Context(), examplePatience)
		defer cancel()
		asked := make(chan struct{})
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { close(asked) }})
		body, held := io.Pipe()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/echo", body)
		require.NoError(t, err)
		req.Header.Set("Expect", "100-continue")
		type answer struct {
			code int
			body string
			err  error
		}
		answered := make(chan answer, 1)
		go func() {
			client := http.Client{Transport: &http.Transport{ExpectContinueTimeout: examplePatience, DisableKeepAlives: true}}
			resp, err := client.Do(req)
			if err != nil {
				answered <- answer{err: err}
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			answered <- answer{resp.StatusCode, string(text), err}
		}()
		select {
		case <-asked:
		case got := <-answered:
			require.Fail(t, "answered before its body was sent", "%+v", got)
		}

		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		p.waitFor("msg=stopping")
		require.Eventually(t, func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err != nil
		}, examplePatience, 5*time.Millisecond, "still takes connections")
		select {
		case got := <-answered:
			require.Fail(t, "answered before its body was sent", "%+v", got)
		case <-p.exited:
			require.Fail(t, "echod did not wait for its request", p.out.String())
		default:
		}

		_, err = io.WriteString(held, "world")
		require.NoError(t, err)
		require.NoError(t, held.Close())
		assert.Equal(t, answer{200, "hello, world\n", nil}, <-answered)
		assert.Equal(t, 0, p.wait(), p.out)
		assert.NoFileExists(t, filepath.Join(dir, "echod.pid"))
	})

	t.Run("refuses a start with a bad configuration", func(t *testing.T) {
		for config, want := range map[string]string{
			"{\n\"lisen\": \":80\"\n}":                        `:2: unknown field "lisen"`,
			"{\n\"listen\": \":80\",\n\"level\": \"loud\"\n}": `:3: field "level": "loud" is not one of debug, info, warn, error`,
		} {
			dir := setup(t, config)
			want := "config: " + filepath.Join(dir, "echod.json") + want
			p := echod(t, dir, "run")
			assert.Equal(t, 1, p.wait())
			assert.Contains(t, strings.ReplaceAll(p.out.String(), `\"`, `"`), `level=ERROR msg="OnStart of config failed" err="`+strings.TrimPrefix(want, "config: ")+`"`)
			assert.NoFileExists(t, filepath.Join(dir, "echod.pid"))

			p = echod(t, dir, "check")
			assert.Equal(t, 6, p.wait())
			assert.Equal(t, "echod: check failed: "+want+"\n", p.out.String())
		}
	})

	t.Run("refuses a start where its address is taken", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		dir := setup(t, fmt.Sprintf(`{"listen": %q}`, taken.Addr()))
		p := echod(t, dir, "run")
		assert.Equal(t, 1, p.wait())
		assert.Contains(t, p.out.String(), fmt.Sprintf(`level=ERROR msg="OnStart of http failed" err="listen tcp %s: bind: %v" component=http hook=OnStart`,
			taken.Addr(), syscall.EADDRINUSE))
		assert.NoFileExists(t, filepath.Join(dir, "echod.pid"))
	})

	t.Run("goes into the background, appends to its log and takes its level", func(t *testing.T) {
		dir := setup(t, good)
		log := filepath.Join(dir, "echod.log")
		endInBackground(t, filepath.Join(dir, "echod.pid"))
		read := func() string {
			text, err := os.ReadFile(log)
			require.NoError(t, err)
			return string(text)
		}

		p := echod(t, dir, "-log", "echod.log", "status")
		assert.Equal(t, 3, p.wait())
		require.NoFileExists(t, log, "status creates no log")

		p = echod(t, dir, "-log", "echod.log", "start")
		require.Equal(t, 0, p.wait(), p.out)
		assert.Regexp(t, `^echod: ready \(pid \d+, .*\), log `+regexp.QuoteMeta(log)+`\n$`, p.out.String())
		info, err := os.Stat(log)
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&^0o640, info.Mode())

		require.Eventually(t, func() bool { return strings.Contains(read(), "msg=ready") }, examplePatience, 5*time.Millisecond)
		before := read()
		p = echod(t, dir, "-log", "echod.log", "start")
		assert.Equal(t, 1, p.wait())
		assert.Contains(t, p.out.String(), "echod: already running")
		assert.Equal(t, before, read(), "the log is the log of the first daemon")

		addr := regexp.MustCompile(`msg=listening addr=(\S+)`).FindStringSubmatch(before)[1]
		get := func() {
			resp, err := http.Get("http://" + addr + "/healthz")
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 200, resp.StatusCode)
		}
		get()
		assert.NotContains(t, read(), "level=DEBUG msg=request")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "echod.json"),
			[]byte(`{"listen": "127.0.0.1:0", "level": "debug"}`), 0o600))
		p = echod(t, dir, "-log", "echod.log", "reload")
		require.Equal(t, 0, p.wait(), p.out)
		require.Eventually(t, func() bool {
			get()
			return strings.Contains(read(), "level=DEBUG msg=request method=GET path=/healthz")
		}, examplePatience, 5*time.Millisecond)

		p = echod(t, dir, "stop")
		assert.Equal(t, 0, p.wait(), p.out)
		assert.True(t, strings.HasPrefix(read(), before))
		assert.Contains(t, read(), "msg=stopped")
	})

	t.Run("tells how it is used", func(t *testing.T) {
		dir := setup(t, good)
		for _, args := range [][]string{nil, {"dance"}, {"run", "-config", "echod.json"}, {"-color", "run"}} {
			p := startExample(t, dir, program, args...)
			assert.Equal(t, 2, p.wait(), "%q", args)
			assert.NotEmpty(t, p.out.String(), "%q", args)
		}
	})
}
