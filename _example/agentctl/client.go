package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"example.com/lifecycle"
)

// ensure returns when the daemon is ready. It starts the daemon if none runs. The client never
// stops the daemon.
func (a agent) ensure(ctx context.Context) error {
	daemon, err := lifecycle.Ensure(ctx, append(a.options(),
		lifecycle.Args("-dir", a.dir, "daemon", "start"))...)
	if err != nil {
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	return daemon.Close()
}

func (a agent) set(ctx context.Context, key, value string) error {
	_, err := a.request(ctx, http.MethodPut, key, value)
	return err
}

func (a agent) get(ctx context.Context, key string) (value string, err error) {
	return a.request(ctx, http.MethodGet, key, "")
}

// request sends an HTTP request over the unix socket.
func (a agent) request(ctx context.Context, method, key, body string) (string, error) {
	if err := a.ensure(ctx); err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", a.socket())
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://agentd/"+url.PathEscape(key), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(text)))
	}
	return string(text), err
}
