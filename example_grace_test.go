package lifecycle_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"example.com/lifecycle"
)

// Two requests are in hand when a stop is asked for. The order hangs on Grace, and is finished; the feed, which would go on
// forever, hangs on the context of the body, and is cut.
func ExampleLife_Grace() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	inHand, packed := make(chan bool), make(chan bool)

	serve := func(ctx context.Context) error {
		grace := lifecycle.From(ctx).Grace()
		work := func(ctx context.Context, w http.ResponseWriter) {
			inHand <- true
			select {
			case <-packed:
				w.WriteHeader(http.StatusOK)
			case <-ctx.Done():
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
		var mux http.ServeMux
		mux.HandleFunc("/order", func(w http.ResponseWriter, r *http.Request) { work(r.Context(), w) })
		mux.HandleFunc("/feed", func(w http.ResponseWriter, _ *http.Request) { work(ctx, w) })
		server := &http.Server{
			Handler:     &mux,
			BaseContext: func(net.Listener) context.Context { return grace }, // of every r.Context()
		}
		go server.Serve(listener)
		<-ctx.Done()
		return server.Shutdown(grace) // when every request has been answered
	}
	get := func(path string) <-chan string {
		answer := make(chan string, 1)
		go func() {
			response, err := http.Get("http://" + listener.Addr().String() + path)
			if err != nil {
				panic(err)
			}
			response.Body.Close()
			answer <- response.Status
		}()
		<-inHand
		return answer
	}

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- lifecycle.Run(serve, lifecycle.BaseContext(ctx), lifecycle.Embedded(), lifecycle.Logger(slog.New(slog.DiscardHandler)))
	}()
	order, feed := get("/order"), get("/feed")
	stop()
	fmt.Println("feed:", <-feed)
	close(packed)
	fmt.Println("order:", <-order)
	fmt.Println("Run returned", <-ended)
	// Output:
	// feed: 503 Service Unavailable
	// order: 200 OK
	// Run returned <nil>
}
