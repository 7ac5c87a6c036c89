//go:build linux

package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// webServers answer with a file of a directory, or with a text.
var webServers = []*debian{
	{
		command: "nginx", args: "-c @CONFIG@", prepare: pages, ask: get, slow: download,
		check: "@PROGRAM@ -t -q -c @CONFIG@", flags: "-stop-signal QUIT -reopen-signal USR1", reload: sent("SIGHUP"), ownLog: "logs/access.log",
	},
	{
		command: "apache2", args: "-DFOREGROUND -f @CONFIG@", prepare: pages, ask: get, slow: download,
		check: "@PROGRAM@ -t -f @CONFIG@", flags: "-stop-signal WINCH -reload-signal USR1", reload: sent("SIGUSR1"),
	},
	{
		command: "lighttpd", args: "-D -f @CONFIG@", prepare: pages, ask: get, slow: download,
		check: "@PROGRAM@ -tt -f @CONFIG@", flags: "-stop-signal INT -reload-signal USR1 -reopen-signal HUP", reload: sent("SIGUSR1"), ownLog: "logs/access.log",
	},
	{
		command: "haproxy", args: "-W -db -f @CONFIG@", ask: get,
		check: "@PROGRAM@ -c -q -f @CONFIG@", flags: "-reload-signal USR2", reload: sent("SIGUSR2"),
	},
	{
		command: "caddy", args: "run --adapter caddyfile --config @CONFIG@", prepare: pages, ask: get, slow: download,
		check: "@PROGRAM@ validate --adapter caddyfile --config @CONFIG@", flags: "-notify", reload: sent("SIGHUP"), same: true,
	},
	{
		command: "squid", args: "--foreground -f @CONFIG@", ask: squidAnswers, prepare: func(g *guarded) {
			require.NoError(g.t, os.Mkdir(g.file("squid"), 0o777))
			require.NoError(g.t, os.Chmod(g.file("squid"), 0o777))
		},
		check: "@PROGRAM@ -k parse -f @CONFIG@", flags: "-reopen-signal USR1", ownLog: "squid/access.log", gap: true, reload: sent("SIGHUP"),
	},
	{
		command: "varnishd", args: "-F -a 127.0.0.1:@PORT@ -f @CONFIG@ -n @DIR@/varnish -s malloc,16m", ask: get,
		check: "@PROGRAM@ -C -f @CONFIG@", reload: ignored, same: true, needs: []string{"gcc"},
	},
}

// pages writes a directory for each answer, with a file that is larger than the buffers of a
// connection.
func pages(g *guarded) {
	g.t.Helper()
	require.NoError(g.t, os.Mkdir(g.file("logs"), 0o777))
	require.NoError(g.t, os.Chmod(g.file("logs"), 0o777))
	for _, answer := range []string{"one", "two"} {
		require.NoError(g.t, os.Mkdir(g.file(answer), 0o755))
		require.NoError(g.t, os.WriteFile(g.file(answer+"/answer"), []byte(answer), 0o644))
		require.NoError(g.t, os.WriteFile(g.file(answer+"/slow"), []byte("begin "+strings.Repeat("x", 32<<20)+" end"), 0o644))
	}
}

// client makes a connection for each request: an idle connection would delay a soft stop.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (g *guarded) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", g.port, path) }

func get(g *guarded) string {
	g.t.Helper()
	response, err := client.Get(g.url("/answer"))
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(body))
}

// download begins a request. The client reads the rest of the answer after the stop request.
func download(g *guarded) (whole func() bool) {
	g.t.Helper()
	response, err := client.Get(g.url("/slow"))
	require.NoError(g.t, err)
	body := bufio.NewReader(response.Body)
	_, err = body.ReadString(' ')
	require.NoError(g.t, err)
	stops := func() int { return strings.Count(g.log(), " stopping ") }
	before, end := stops(), make(chan bool, 1)
	go func() {
		defer response.Body.Close()
		for deadline := time.Now().Add(patience); time.Now().Before(deadline) && stops() == before; {
			time.Sleep(time.Millisecond)
		}
		rest, err := io.ReadAll(body)
		end <- err == nil && bytes.HasSuffix(rest, []byte("end"))
	}()
	return func() bool { return <-end }
}

// squidAnswers returns the name in the error page of squid.
func squidAnswers(g *guarded) string {
	text := get(g)
	_, rest, _ := strings.Cut(text, "Generated ")
	_, rest, _ = strings.Cut(rest, " by ")
	name, _, ok := strings.Cut(rest, " (squid")
	if !ok {
		return text
	}
	return name
}
