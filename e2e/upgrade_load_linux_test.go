package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/serve"
	"example.com/lifecycle/socket"
)

// servers returns the components for the lines http, https and lines of a release.
func servers(does map[string]string) (all []lifecycle.Option) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gate := r.URL.Query().Get("until"); gate != "" {
			fmt.Println("a slow request")
			_ = behave("request", "until:"+gate)(r.Context())
		}
		fmt.Fprint(w, releaseVersion())
	})
	if address, ok := does["http"]; ok {
		all = append(all, lifecycle.With(serve.HTTP(&http.Server{Handler: handler}, "tcp", address)))
	}
	if address, ok := does["https"]; ok {
		secret := httptest.NewTLSServer(nil) // has a certificate
		defer secret.Close()
		config := &tls.Config{Certificates: secret.TLS.Certificates}
		all = append(all, lifecycle.With(serve.HTTP(&http.Server{Handler: handler, TLSConfig: config}, "tcp", address)))
	}
	if address, ok := does["lines"]; ok {
		all = append(all, lifecycle.With((&lineServer{address: address}).hooks()))
	}
	return all
}

// lineServer answers each line with the version of the release. During a drain, it answers with one
// more word, "bye", and closes the connection. It follows the steps of docs/upgrade.md.
type lineServer struct {
	address  string
	listener net.Listener
	accepts  chan struct{} // closed when no further connection is accepted
	drains   atomic.Bool
	handlers sync.WaitGroup
}

func (s *lineServer) hooks() lifecycle.Hooks {
	s.accepts = make(chan struct{})
	return lifecycle.Hooks{
		Name: "lines",
		OnStart: func(context.Context) (err error) {
			s.listener, err = socket.Listen("tcp", s.address)
			return err
		},
		Run: func(ctx context.Context) error {
			defer close(s.accepts)
			grace := lifecycle.From(ctx).Grace()
			for {
				c, err := s.listener.Accept()
				if err != nil && s.drains.Load() {
					return nil
				}
				if err != nil {
					return err
				}
				s.handlers.Go(func() { s.serve(grace, c) })
			}
		},
		OnStop: func(context.Context) error {
			s.drains.Store(true)
			s.listener.Close()
			<-s.accepts
			s.handlers.Wait() // they end with Grace at the latest
			return nil
		},
	}
}

func (s *lineServer) serve(grace context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(grace, func() { c.Close() })()
	for in := bufio.NewReader(c); ; {
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
		if s.drains.Load() {
			fmt.Fprintln(c, releaseVersion(), "bye")
			return
		}
		fmt.Fprintln(c, releaseVersion())
	}
}

// post sends a request that net/http repeats only if the server has not processed it. Over HTTP/2,
// the server reports that with GOAWAY.
func post(client *http.Client, url string) (version string, err error) {
	response, err := client.Post(url, "text/plain", strings.NewReader("a request"))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// lineClient sends lines, each over a connection of its own or over the same one until "bye".
type lineClient struct {
	address string
	fresh   bool
	conn    net.Conn
	in      *bufio.Reader
}

func (c *lineClient) send() (version string, err error) {
	if c.conn == nil {
		if c.conn, err = net.Dial("tcp", c.address); err != nil {
			return "", err
		}
		c.in = bufio.NewReader(c.conn)
	}
	if _, err = fmt.Fprintln(c.conn, "a request"); err != nil {
		return "", err
	}
	answer, err := c.in.ReadString('\n')
	version, bye, _ := strings.Cut(strings.TrimSuffix(answer, "\n"), " ")
	if c.fresh || bye != "" {
		c.close()
	}
	return version, err
}

func (c *lineClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// loadedBy sends requests one after the other until stop is called. Each must be answered. last
// returns the last answer, and fails the test at once if a request has failed.
func loadedBy(t *testing.T, what string, send func() (version string, err error)) (last func() string, stop func()) {
	t.Helper()
	ended := make(chan struct{})
	var stops atomic.Bool
	var version atomic.Value
	version.Store("")
	var failed error
	answered := 0
	go func() {
		defer close(ended)
		for !stops.Load() {
			got, err := send()
			if err != nil {
				failed = err
				return
			}
			answered++
			version.Store(got)
		}
	}()
	stop = func() {
		t.Helper()
		stops.Store(true)
		<-ended
		require.NoError(t, failed, "%s, after %d answers", what, answered)
	}
	last = func() string {
		t.Helper()
		select {
		case <-ended:
			stop()
		default:
		}
		return version.Load().(string)
	}
	return last, stop
}

func TestNoRequestFailsDuringUpgradesUnderLoad(t *testing.T) {
	t.Parallel()
	plain, secret, lines := freeAddress(t), freeAddress(t), freeAddress(t)
	does := []string{"http=" + plain, "https=" + secret, "lines=" + lines}
	r := deployed(t, does...)
	s := r.begin("draintimeout=10s")

	trusting := func() *http.Transport {
		return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	}
	http2 := &http.Client{Transport: trusting()}
	response, err := http2.Get("https://" + secret)
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, 2, response.ProtoMajor, "otherwise this test would not prove what it says")
	once, keeps := newClient(false), newClient(true)
	freshLines, keptLines := &lineClient{address: lines, fresh: true}, &lineClient{address: lines}
	var stops []func()
	var lasts []func() string
	for what, send := range map[string]func() (string, error){
		"HTTP/1.1, fresh connections": func() (string, error) { return post(once, "http://"+plain) },
		"HTTP/1.1, a kept connection": func() (string, error) { return post(keeps, "http://"+plain) },
		"HTTP/2 over TLS":             func() (string, error) { return post(http2, "https://"+secret) },
		"lines, fresh connections":    freshLines.send,
		"lines, a kept connection":    keptLines.send,
	} {
		last, stop := loadedBy(t, what, send)
		lasts, stops = append(lasts, last), append(stops, stop)
	}
	for n := range proctest.Rounds(3, 10, 50) {
		version := fmt.Sprintf("2.%d", n)
		r.install(version, does...)
		s = r.upgraded(s, version)
		proctest.Eventually(t, func() bool {
			for _, last := range lasts {
				if last() != version {
					return false
				}
			}
			return true
		}, "each client to have an answer of %s", version)
	}
	for _, stop := range stops {
		stop()
	}
	http2.CloseIdleConnections()
	keeps.CloseIdleConnections()
	keptLines.close()
	require.NotContains(t, r.said(), "did not end in time")
	r.stop()
}

func TestRequestsThatOutlastDrainTimeoutAreCountedInTheLog(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	r := deployed(t, "http="+address)
	s := r.begin("draintimeout=1s")
	ended := make(chan error, 2)
	for n := range 2 {
		go func() {
			_, err := ask(newClient(true), address, "until=/nowhere/gate")
			ended <- err
		}()
		proctest.Eventually(t, func() bool { return strings.Count(r.said(), "a slow request\n") == n+1 }, "the request to be in progress")
	}
	r.install("2.0", "http="+address)
	begun := time.Now()
	r.upgraded(s, "2.0")
	for range 2 {
		require.Error(t, <-ended)
	}
	require.GreaterOrEqual(t, time.Since(begun), time.Second)
	r.awaitSaid("cut 2 requests that did not end in time")
	r.requireGone(s.Worker)
	r.stop()
}
