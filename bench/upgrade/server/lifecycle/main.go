// Command lifecycle DIR ADDRESS VERB is an HTTP server that answers with the content of DIR/version
// at its start. Each connection and each upgrade is served as package serve does it.
package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"

	"example.com/lifecycle"
	"example.com/lifecycle/serve"
)

func main() {
	dir, address := os.Args[1], os.Args[2]
	var version []byte
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(version) }
	os.Exit(lifecycle.Main(os.Args[3:], nil,
		lifecycle.PIDFile(filepath.Join(dir, "lifecycle.pid")),
		lifecycle.LogFile(filepath.Join(dir, "lifecycle.log")),
		lifecycle.Supervise(lifecycle.RestartPolicy{}),
		lifecycle.OnStart(func(context.Context) (err error) {
			version, err = os.ReadFile(filepath.Join(dir, "version"))
			return err
		}),
		lifecycle.With(serve.HTTP(&http.Server{Handler: http.HandlerFunc(answer)}, "tcp", address)),
	))
}
