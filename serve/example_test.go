package serve_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"example.com/lifecycle"
	"example.com/lifecycle/serve"
)

// The server listens before the daemon is ready, and a stop loses no request.
func ExampleHTTP() {
	http.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	const address = "127.0.0.1:18080"
	ask := func(context.Context) error {
		response, err := http.Get("http://" + address + "/hello")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		fmt.Println(string(text))
		return err
	}
	err := lifecycle.Run(ask, lifecycle.With(serve.HTTP(&http.Server{}, "tcp", address)),
		lifecycle.Embedded(), lifecycle.Logger(slog.New(slog.DiscardHandler)))
	fmt.Println(err)
	// Output:
	// hello
	// <nil>
}
