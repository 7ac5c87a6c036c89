//go:build linux

package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"
)

// applications run code that they read at their start. A request for /slow takes a second.
var applications = []*debian{
	{command: "node", args: "@DIR@/app.js", prepare: module, ask: get, slow: download, check: "@PROGRAM@ --check @DIR@/app.js", reload: wouldEnd, same: true, cuts: true},
	{ // the console of the database H2
		command: "java", args: "-XX:TieredStopAtLevel=1 -cp /usr/share/java/h2.jar org.h2.tools.Server -web -webPort @PORT@ -properties @DIR@",
		ask: get, answers: [2]string{"File not found: answer", "File not found: answer"},
		ends: true, needs: []string{"/usr/share/java/h2.jar"},
		// This program may take longer than RestartPolicy.Settle to end.
		reload: verdict{`SIGHUP sent; java does not report the result\n$|: reload failed: the worker ended instead: exit 129\n$`, either},
	},
	{
		command: "gunicorn", args: "-c @CONFIG@ app:app", prepare: module, ask: get, slow: download,
		check: "@PROGRAM@ -c @CONFIG@ --check-config app:app", flags: "-reopen-signal USR1", ready: answersHTTP, reload: sent("SIGHUP"),
	},
	{
		command: "uvicorn", args: "--app-dir @DIR@ --port @PORT@ uvicorn_app:app", prepare: module, ask: get, slow: download,
		reload: wouldEnd, same: true,
	},
	{
		command: "uwsgi", args: "--ini @CONFIG@", prepare: module, ask: get, slow: download, reload: sent("SIGHUP"),
		needs: []string{"/usr/lib/uwsgi/plugins/python3_plugin.so"},
	},
	{
		command: "/usr/sbin/php-fpm*", args: "-F -y @CONFIG@", prepare: func(g *guarded) {
			require.NoError(g.t, os.WriteFile(g.file("answer.php"), []byte(`<?php echo getenv("ANSWER");`), 0o644))
			require.NoError(g.t, os.WriteFile(g.file("slow.php"), []byte(`<?php echo "begin "; while (ob_get_level()) ob_end_flush(); flush(); sleep(1); echo "end";`), 0o644))
		},
		ask: func(g *guarded) string { return g.fastCGI("answer.php", func() {}) }, slow: slowScript,
		check: "@PROGRAM@ -t -y @CONFIG@", flags: "-notify -stop-signal QUIT -reload-signal USR2 -reopen-signal USR1", reload: sent("SIGUSR2"),
	},
}

// answersHTTP succeeds when the daemon answers. It is for a daemon that listens before it has
// loaded the application.
const answersHTTP = `bash -c 'exec 3<>/dev/tcp/127.0.0.1/@PORT@; printf "GET /answer HTTP/1.0\r\n\r\n" >&3; grep -qE "^(one|two)" <&3'`

// module writes the application. If the configuration file contains code, module links it under the
// name of a module.
func module(g *guarded) {
	require.NoError(g.t, os.WriteFile(g.config(), nil, 0o644))
	for _, name := range []string{"app.js", "uvicorn_app.py"} {
		require.NoError(g.t, os.Link(g.config(), g.file(name)))
	}
	text, err := os.ReadFile("testdata/app.py")
	require.NoError(g.t, err)
	require.NoError(g.t, os.WriteFile(g.file("app.py"), text, 0o644))
}

// slowScript begins a request and waits until its answer has begun.
func slowScript(g *guarded) (whole func() bool) {
	g.t.Helper()
	begun, end := make(chan struct{}), make(chan string, 1)
	go func() { end <- g.fastCGI("slow.php", sync.OnceFunc(func() { close(begun) })) }()
	select {
	case <-begun:
	case text := <-end:
		require.Fail(g.t, "no answer", text)
	}
	return func() bool { return <-end == "begin end" }
}

// fastCGI returns the answer of a script (FastCGI, version 1). It calls begun with each part.
func (g *guarded) fastCGI(script string, begun func()) (body string) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	var request bytes.Buffer
	record := func(kind byte, content []byte) {
		request.Write([]byte{1, kind, 0, 1, byte(len(content) >> 8), byte(len(content)), 0, 0})
		request.Write(content)
	}
	var params []byte
	for _, pair := range [][2]string{{"SCRIPT_FILENAME", filepath.Join(g.dir, script)}, {"REQUEST_METHOD", "GET"}} {
		params = append(params, byte(len(pair[0])), byte(len(pair[1])))
		params = append(params, pair[0]+pair[1]...)
	}
	record(1, []byte{0, 1, 0, 0, 0, 0, 0, 0}) // begin, as a responder
	record(4, params)
	record(4, nil)
	record(5, nil)
	if _, err := conn.Write(request.Bytes()); err != nil {
		return err.Error()
	}
	for {
		var head [8]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err.Error()
		}
		content := make([]byte, int(binary.BigEndian.Uint16(head[4:]))+int(head[6]))
		if _, err := io.ReadFull(conn, content); err != nil {
			return err.Error()
		}
		switch head[1] {
		case 6: // stdout
			begun()
			body += string(content[:len(content)-int(head[6])])
		case 3: // end
			_, body, _ = strings.Cut(body, "\r\n\r\n")
			return body
		}
	}
}
