package main

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestHandler(t *testing.T) {
	s := &server{conf: &configFile{setLevel: new(slog.LevelVar).Set}, logger: slog.New(slog.DiscardHandler)}
	s.conf.apply(&config{greeting: "hello"})
	handler := s.handler()

	for _, test := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/", "", 200, "hello\n"},
		{"GET", "/healthz", "", 200, "ok\n"},
		{"POST", "/echo", "world", 200, "hello, world\n"},
		{"POST", "/echo", "", 200, "hello, \n"},
		{"POST", "/echo", strings.Repeat("x", maxBody), 200, "hello, " + strings.Repeat("x", maxBody) + "\n"},
		{"POST", "/echo", strings.Repeat("x", maxBody+1), 413, "http: request body too large\n"},
		{"GET", "/echo", "", 405, "Method Not Allowed\n"},
		{"POST", "/", "world", 405, "Method Not Allowed\n"},
		{"GET", "/other", "", 404, "404 page not found\n"},
	} {
		got := httptest.NewRecorder()
		handler.ServeHTTP(got, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
		assert.Equal(t, test.code, got.Code, "%s %s", test.method, test.path)
		assert.True(t, test.want == got.Body.String(), "%s %s: %.80q", test.method, test.path, got.Body)
		assert.Equal(t, "text/plain; charset=utf-8", got.Result().Header.Get("Content-Type"))
	}
}
