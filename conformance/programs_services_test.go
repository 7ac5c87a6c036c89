//go:build linux

package conformance

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// services have protocols of their own.
var services = []*debian{
	{
		command: "redis-server", args: "--port @PORT@ --dir @DIR@ --appendonly yes", needs: []string{"redis-cli"},
		ready: "test $(redis-cli -p @PORT@ ping) = PONG", reload: ignored, answers: [2]string{"one", "one"},
		begin: func(g *guarded) { run(g, "redis-cli", "-p", strconv.Itoa(g.port), "set", "key", "one") },
		ask: func(g *guarded) string {
			out, _ := exec.Command("redis-cli", "-p", strconv.Itoa(g.port), "get", "key").CombinedOutput()
			return strings.TrimSpace(string(out))
		},
	},
	{
		command: "memcached", args: "-l 127.0.0.1 -p @PORT@ -u nobody", ask: func(g *guarded) string { return contains(g.firstLine("version\r\n"), "VERSION") }, answers: [2]string{"VERSION", "VERSION"},
		reload: sent("SIGHUP"),
	},
	{
		command: "/usr/lib/postgresql/*/bin/postgres", args: "-D @DIR@/data -p @PORT@ -h 127.0.0.1 -c unix_socket_directories=", prepare: initPostgres,
		ready: "@BIN@/pg_isready -q -h 127.0.0.1 -p @PORT@", flags: "-user postgres -stop-signal INT", reload: sent("SIGHUP"), answers: [2]string{"one", "one"},
		begin: func(g *guarded) { psql(g, "create table t as select 'one'") },
		ask:   func(g *guarded) string { return psql(g, "select * from t") },
	},
	{
		command: "dnsmasq", args: "-k --conf-file=@CONFIG@", change: hosts, ask: dnsAnswers,
		check: "@PROGRAM@ --test --conf-file=@CONFIG@", reload: sent("SIGHUP"), answers: [2]string{"127.1.1.1", "127.2.2.2"},
	},
	{
		command: "unbound", args: "-d -p -c @CONFIG@", ask: dnsAnswers, needs: []string{"unbound-checkconf"},
		check: "unbound-checkconf @CONFIG@", flags: "-notify", reload: reported,
	},
	{
		command: "mosquitto", args: "-c @CONFIG@", ask: mqttAnswers, answers: [2]string{"true", "false"}, flags: "-notify", reload: sent("SIGHUP"),
	},
	sshd,
	cron,
	{
		command: "rsyslogd", args: "-n -f @CONFIG@ -i @DIR@/rsyslogd.pid", ask: syslogAnswers, check: "@PROGRAM@ -N1 -f @CONFIG@", flags: "-reopen-signal HUP", ownLog: "out", reload: sent("SIGHUP"), retries: true, answers: [2]string{"one", "one"},
	},
	{
		command: "prometheus-node-exporter", args: "--web.listen-address=127.0.0.1:@PORT@", ask: func(g *guarded) string { return contains(get(g), "Node Exporter") }, reload: verdict{`: reload failed: the worker ended instead: signal SIGHUP\n$`, 1}, ends: true, answers: [2]string{"Node Exporter", "Node Exporter"},
	},
}

func (g *guarded) address() string { return fmt.Sprintf("127.0.0.1:%d", g.port) }

// firstLine returns the first line of an answer.
func (g *guarded) firstLine(question string) string {
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, question)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

func initPostgres(g *guarded) {
	data := g.file("data")
	run(g, "install", "-d", "-o", "postgres", "-m", "700", data)
	run(g, "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", filepath.Join(filepath.Dir(g.path), "initdb"), "-D", data, "-N", "-A", "trust")
}

func psql(g *guarded, query string) string {
	out, err := exec.Command("psql", "-h", "127.0.0.1", "-p", strconv.Itoa(g.port), "-U", "postgres", "-d", "postgres", "-Atc", query).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// run returns the output of a command that must succeed.
func run(g *guarded, args ...string) string {
	g.t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(g.t, err, "%s", out)
	return strings.TrimSpace(string(out))
}

func hosts(g *guarded) {
	require.NoError(g.t, os.WriteFile(g.file("hosts"), []byte(g.answer+" answer.test\n"), 0o644))
}

// dnsAnswers returns the addresses or the texts of a name.
func dnsAnswers(g *guarded) string {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", g.address())
	}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	lookup := resolver.LookupHost
	if g.name == "unbound" {
		lookup = resolver.LookupTXT
	}
	all, err := lookup(ctx, "answer.test.")
	if err != nil {
		return err.Error()
	}
	return strings.Join(all, " ")
}

// mqttAnswers connects without a user name, and returns whether the server allows that.
func mqttAnswers(g *guarded) string {
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x")); err != nil {
		return err.Error()
	}
	var answer [4]byte
	if _, err := bufio.NewReader(conn).Read(answer[:]); err != nil {
		return err.Error()
	}
	return strconv.FormatBool(answer[3] == 0)
}

func syslogAnswers(g *guarded) string {
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		return err.Error()
	}
	text := strconv.FormatInt(time.Now().UnixNano(), 36)
	fmt.Fprintf(conn, "<14>Oct 11 22:14:15 host test: %s\n", text)
	conn.Close()
	eventually(g.t, func() bool { out, _ := os.ReadFile(g.file("out")); return strings.Contains(string(out), text) }, "the message")
	return "one"
}

// contains returns the word if the text contains the word. Otherwise it returns the text.
func contains(text, word string) string {
	if strings.Contains(text, word) {
		return word
	}
	return text
}
