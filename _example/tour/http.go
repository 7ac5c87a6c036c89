package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"syscall"
	"time"
)

// client uses a new connection for each request, as curl does.
var client = http.Client{Timeout: patience, Transport: &http.Transport{
	DisableKeepAlives:     true,
	ExpectContinueTimeout: patience,
}}

// get expects status 200 and this body.
func (sh *shell) get(path, want string) {
	sh.prompt("curl %s%s", sh.echo.url, path)
	sh.request(http.MethodGet, path, nil, want)
}

func (sh *shell) post(path, body, want string) {
	sh.prompt("curl -d %s %s%s", body, sh.echo.url, path)
	sh.request(http.MethodPost, path, strings.NewReader(body), want)
}

func (sh *shell) request(method, path string, body io.Reader, want string) {
	req, err := http.NewRequestWithContext(sh.ctx, method, sh.echo.url+path, body)
	if err != nil {
		sh.fail("%w", err)
		return
	}
	got := do(req)
	sh.replied(got, want)
}

type reply struct {
	code int
	body string
	err  error
}

func do(req *http.Request) reply {
	resp, err := client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, string(body), err}
}

func (sh *shell) replied(got reply, want string) {
	show(got.body)
	if got != (reply{http.StatusOK, want, nil}) {
		sh.fail("reply: %d, %q and %v, want 200 and %q", got.code, got.body, got.err, want)
	}
}

// held is a request in progress: the server waits for its body.
type held struct {
	sh   *shell
	body *io.PipeWriter
	done chan reply
}

// hold starts a request. It returns when the server has requested the body with 100 Continue.
func (sh *shell) hold(path string) (*held, error) {
	sh.prompt("curl -X POST -T - %s%s &", sh.echo.url, path)
	asked := make(chan struct{})
	ctx := httptrace.WithClientTrace(sh.ctx, &httptrace.ClientTrace{Got100Continue: func() { close(asked) }})
	body, w := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, sh.echo.url+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Expect", "100-continue")
	h := &held{sh: sh, body: w, done: make(chan reply, 1)}
	go func() { h.done <- do(req) }()
	select {
	case <-asked:
		return h, nil
	case got := <-h.done:
		return nil, fmt.Errorf("answered before its body was sent: %v", got)
	case <-time.After(patience):
		return nil, errors.New("the server does not request the body")
	case <-sh.ctx.Done():
		return nil, context.Cause(sh.ctx)
	}
}

// finish sends the body and expects this answer.
func (h *held) finish(body, want string) {
	select {
	case got := <-h.done:
		h.sh.fail("echod did not wait for the running request: %v", got)
		return
	default:
	}
	h.sh.prompt("fg  # curl -T - reads what we type")
	show(body)
	_, err := io.WriteString(h.body, body)
	if err = errors.Join(err, h.body.Close()); err != nil {
		h.sh.fail("%w", err)
	}
	h.sh.replied(<-h.done, want)
}

// refused waits until the server accepts no more connections.
func (sh *shell) refused(path string) {
	sh.prompt("curl %s%s", sh.echo.url, path)
	addr := strings.TrimPrefix(sh.echo.url, "http://")
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		conn, err := net.DialTimeout("tcp", addr, patience)
		if errors.Is(err, syscall.ECONNREFUSED) {
			show("curl: (7) Failed to connect to " + addr + ": connection refused")
			return
		}
		if err == nil {
			conn.Close()
		}
		if !sh.pause() {
			break
		}
	}
	sh.fail("%s still takes connections", addr)
}
