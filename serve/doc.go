// Package serve has ready-made components for servers. A server of this package listens before the
// daemon is ready, and a stop, a restart or an upgrade loses no request:
//
//	server := &http.Server{Handler: mux}
//	os.Exit(lifecycle.Main(os.Args[1:], nil, lifecycle.With(serve.HTTP(server, "tcp", ":8080"))))
package serve
