package serve_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/lifecycletest"
	"example.com/lifecycle/serve"
)

// server is an HTTP server of a life, on a free port.
type server struct {
	*http.Server
	life    *lifecycletest.Life
	address string
}

// start starts a server. Its first OnStart after the listen finds the address.
func start(t *testing.T, srv *http.Server, opts ...lifecycle.Option) *server {
	t.Helper()
	s := &server{Server: srv, address: freeAddress(t)}
	opts = append([]lifecycle.Option{lifecycle.With(serve.HTTP(srv, "tcp", s.address))}, opts...)
	s.life = lifecycletest.Start(t, nil, opts...)
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// refuses waits until the server accepts no connection.
func (s *server) refuses(t *testing.T) {
	t.Helper()
	proctest.Eventually(t, func() bool {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "a refused connection")
}

// stopInBackground begins a stop and returns a channel that gets its result.
func (s *server) stopInBackground() <-chan error {
	result := make(chan error, 1)
	go func() { result <- s.life.Stop() }()
	return result
}

// peer is an HTTP/1 client with one connection. It never retries.
type peer struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, address string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &peer{conn, bufio.NewReader(conn)}
}

// post sends a request, which no client may repeat, and returns whether its response closes the
// connection.
func (p *peer) post() (closes bool, err error) {
	if _, err := io.WriteString(p, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"); err != nil {
		return false, err
	}
	response, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if _, err := io.ReadAll(response.Body); err != nil {
		return false, err
	}
	return response.Close, nil
}

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

func TestAStopLosesNoRequestOnAKeptConnection(t *testing.T) {
	t.Parallel()
	s := start(t, &http.Server{Handler: http.HandlerFunc(echo)})
	var served, lost atomic.Int64
	var clients sync.WaitGroup
	begun := make(chan struct{}, 8)
	for range cap(begun) {
		p := dial(t, s.address)
		clients.Go(func() {
			for first := true; ; first = false {
				closes, err := p.post()
				if err != nil {
					lost.Add(1)
					return
				}
				served.Add(1)
				if first {
					begun <- struct{}{}
				}
				if closes {
					return
				}
			}
		})
	}
	for range cap(begun) {
		<-begun
	}
	require.NoError(t, s.life.Stop())
	clients.Wait()
	require.Zero(t, lost.Load(), "of %d", served.Load())
}

func TestAConnectionThatWasAcceptedAndNotReadIsServed(t *testing.T) {
	t.Parallel()
	accepted := make(chan struct{}, 1)
	s := start(t, &http.Server{Handler: http.HandlerFunc(echo), ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted <- struct{}{}
		}
	}})
	p := dial(t, s.address)
	<-accepted
	stopped := s.stopInBackground()
	s.refuses(t)
	closes, err := p.post()
	require.NoError(t, err)
	require.True(t, closes)
	require.NoError(t, <-stopped)
}

func TestARequestInProgressEndsAndAKeptConnectionIsClosedWithItsNextResponse(t *testing.T) {
	t.Parallel()
	inHandler, release := make(chan struct{}), make(chan struct{})
	s := start(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(inHandler)
			<-release
			if r.Context().Err() != nil {
				http.Error(w, "the context has ended", http.StatusInternalServerError)
				return
			}
		}
		echo(w, r)
	})})
	kept := dial(t, s.address)
	closes, err := kept.post()
	require.NoError(t, err)
	require.False(t, closes)
	answer := make(chan int, 1)
	go func() {
		response, err := http.Post("http://"+s.address+"/slow", "", strings.NewReader("x"))
		if err != nil {
			answer <- 0
			return
		}
		response.Body.Close()
		answer <- response.StatusCode
	}()
	<-inHandler
	stopped := s.stopInBackground()
	s.refuses(t)
	closes, err = kept.post()
	require.NoError(t, err, "the connection was used a moment ago")
	require.True(t, closes)
	close(release)
	require.Equal(t, http.StatusOK, <-answer)
	require.NoError(t, <-stopped)
}

func TestRequestsThatDoNotEndInTimeAreCutAndCounted(t *testing.T) {
	t.Parallel()
	inHandler := make(chan struct{}, 2)
	fn := func(_ http.ResponseWriter, r *http.Request) {
		inHandler <- struct{}{}
		<-r.Context().Done()
	}
	var failed error
	srv := &http.Server{Handler: http.HandlerFunc(fn)}
	address := freeAddress(t)
	ready := make(chan struct{})
	over := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		defer close(over)
		failed = lifecycle.Run(nil, lifecycle.With(serve.HTTP(srv, "tcp", address)), lifecycle.Embedded(), lifecycle.BaseContext(ctx),
			lifecycle.StopTimeout(time.Second), lifecycle.ReadyWhen(func(context.Context) error { close(ready); return nil }))
	}()
	<-ready
	for range 2 {
		p := dial(t, address)
		_, err := io.WriteString(p, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		<-inHandler
	}
	stop()
	<-over
	require.ErrorContains(t, failed, "cut 2 requests that did not end in time")
}

func TestAPortInUseMakesTheStartFail(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	err = lifecycle.Run(nil, lifecycle.Embedded(), lifecycle.With(serve.HTTP(&http.Server{}, "tcp", l.Addr().String())))
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, l.Addr().String())
}

// secure returns a server with TLS, and a client that trusts it and uses HTTP/2.
func secure(t *testing.T, h http.Handler) (*server, *http.Client) {
	t.Helper()
	made := httptest.NewUnstartedServer(h)
	made.EnableHTTP2 = true
	made.StartTLS()
	client := made.Client()
	config := made.TLS.Clone()
	made.Close()
	s := start(t, &http.Server{Handler: h, TLSConfig: config})
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	return s, client
}

func TestAStopLosesNoStreamOfHTTP2(t *testing.T) {
	t.Parallel()
	s, client := secure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Protocol", r.Proto)
		echo(w, r)
	}))
	var lost atomic.Int64
	var clients sync.WaitGroup
	begun := make(chan struct{}, 8)
	for range cap(begun) {
		clients.Go(func() {
			for first := true; ; first = false {
				response, err := client.Post("https://"+s.address, "", strings.NewReader("hi"))
				if errors.Is(err, syscall.ECONNREFUSED) {
					return // a new connection, after the server has closed the old one
				}
				if err != nil || response.ProtoMajor != 2 {
					lost.Add(1)
					t.Log(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if first {
					begun <- struct{}{}
				}
			}
		})
	}
	for range cap(begun) {
		<-begun
	}
	require.NoError(t, s.life.Stop())
	clients.Wait()
	require.Zero(t, lost.Load())
}

func TestAHijackedConnectionHasTheTimeOfARequest(t *testing.T) {
	t.Parallel()
	taken, end := make(chan struct{}), make(chan struct{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		close(taken)
		<-end
		_, _ = io.WriteString(conn, "goodbye")
	})}
	srv.RegisterOnShutdown(func() { close(end) })
	s := start(t, srv)
	p := dial(t, s.address)
	_, err := io.WriteString(p, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
	require.NoError(t, err)
	<-taken
	require.NoError(t, s.life.Stop())
	text, err := io.ReadAll(p)
	require.NoError(t, err)
	require.Equal(t, "goodbye", string(text))
}

func TestTheServerUsesTLSWithItsCertificates(t *testing.T) {
	t.Parallel()
	s, client := secure(t, http.HandlerFunc(echo))
	response, err := client.Post("https://"+s.address, "", strings.NewReader("hi"))
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "hi", string(text))
	require.NotZero(t, response.TLS.Version)
	require.GreaterOrEqual(t, response.TLS.Version, uint16(tls.VersionTLS12))
	client.CloseIdleConnections()
}
