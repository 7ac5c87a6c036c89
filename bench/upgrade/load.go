package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// client sends requests that may not be repeated.
type client struct {
	http *http.Client
	url  string
}

// newClient returns a client that keeps its connection, or uses a new one for each request.
func newClient(address string, keeps bool) *client {
	transport := &http.Transport{DisableKeepAlives: !keeps, MaxIdleConnsPerHost: 1, DialContext: (&net.Dialer{}).DialContext}
	return &client{&http.Client{Transport: transport, Timeout: 10 * time.Second}, "http://" + address + "/"}
}

// onceOnly hides the kind of the body, so that package http cannot send it twice.
type onceOnly struct{ io.Reader }

func (c *client) ask() (string, error) {
	request, err := http.NewRequest(http.MethodPost, c.url, onceOnly{strings.NewReader("x")})
	if err != nil {
		return "", err
	}
	request.ContentLength = 1
	response, err := c.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", response.Status)
	}
	return string(text), err
}

// load is a stream of requests at a steady rate.
type load struct {
	address string
	rate    int
	failed  atomic.Int64
	over    chan struct{}

	mu     sync.Mutex
	took   []time.Duration
	errors map[string]int
}

func newLoad(address string, rate int) *load {
	return &load{address: address, rate: rate, over: make(chan struct{}), errors: map[string]int{}}
}

// kept is the number of connections that clients keep.
const kept = 50

func (l *load) run(ctx context.Context) {
	defer close(l.over)
	idle := make(chan *client, kept)
	for range kept {
		idle <- newClient(l.address, true)
	}
	var requests sync.WaitGroup
	begun := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		time.Sleep(time.Until(begun.Add(time.Duration(n) * time.Second / time.Duration(l.rate))))
		requests.Go(func() {
			if n%2 == 0 {
				l.one(newClient(l.address, false))
				return
			}
			c := <-idle
			l.one(c)
			idle <- c
		})
	}
	requests.Wait()
}

func (l *load) one(c *client) {
	begun := time.Now()
	answer, err := c.ask()
	took := time.Since(begun)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && !strings.HasPrefix(answer, "version ") {
		err = fmt.Errorf("the answer is %q", answer)
	}
	if err != nil {
		l.failed.Add(1)
		l.errors[err.Error()]++
		return
	}
	l.took = append(l.took, took)
}

func (l *load) latencies() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(slices.Values(l.took))
}
