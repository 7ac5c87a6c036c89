package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// stage is a part of a pipeline. Its body simply returns when its context ends.
type stage struct {
	in   chan string
	down chan struct{} // closed when the body has returned
	do   func(job string) bool
}

func newStage(do func(job string) bool) *stage {
	return &stage{make(chan string), make(chan struct{}), do}
}

func (s *stage) run(ctx context.Context) error {
	defer close(s.down)
	for {
		select {
		case <-ctx.Done():
			return nil
		case job := <-s.in:
			if !s.do(job) {
				return errors.New("lost: " + job)
			}
		}
	}
}

// take passes a job to the stage. It returns false if the stage is down.
func (s *stage) take(job string) bool {
	select {
	case s.in <- job:
		return true
	case <-s.down:
		return false
	}
}

// pipeline takes jobs over HTTP and writes them to a file:
//
//	pipeline PIDFILE FILE component|fn
//
// The last argument selects where the server is served.
var pipeline = proctest.Register("pipeline", func(args []string) int {
	file, err := os.OpenFile(args[1], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Println(err)
		return 2
	}
	db := newStage(func(job string) bool { _, err := file.WriteString(job + "\n"); return err == nil })
	cache := newStage(db.take)
	consumer := newStage(cache.take)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		job, err := io.ReadAll(r.Body)
		if err != nil || !consumer.take(string(job)) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})}
	var listener net.Listener
	serve := func(context.Context) error { return srv.Serve(listener) }
	front := lifecycle.Hooks{Name: "http", OnStop: srv.Shutdown, OnStart: func(context.Context) (err error) {
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			fmt.Println("listens at " + listener.Addr().String())
		}
		return err
	}}
	fn := serve
	if args[2] == "component" {
		fn, front.Run = nil, serve
	}
	return lifecycle.ExitCode(lifecycle.Run(fn,
		lifecycle.PIDFile(args[0]), lifecycle.CleanErrors(http.ErrServerClosed),
		lifecycle.With(lifecycle.Hooks{Name: "db", Run: db.run, OnExit: func(context.Context) error { return file.Close() }}),
		lifecycle.With(lifecycle.Hooks{Name: "cache", Run: cache.run}),
		lifecycle.With(lifecycle.Hooks{Name: "consumer", Run: consumer.run}),
		lifecycle.With(front)))
})

// client posts jobs until the server is gone, and calls accepted for each that the server accepted.
func client(t *testing.T, url string, number int, accepted func(job string)) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for i := 0; ; i++ {
		job := fmt.Sprintf("job %d of %d", i, number)
		response, err := (&http.Client{Transport: transport}).Post(url, "text/plain", strings.NewReader(job))
		if err != nil {
			return
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusAccepted {
			t.Errorf("%s: %s", job, response.Status)
			return
		}
		accepted(job)
	}
}

func TestAStopLosesNoJobThatAPipelineHasAccepted(t *testing.T) {
	t.Parallel()
	for round := range proctest.Rounds(4, 20, 100) {
		where := []string{"component", "fn"}[round%2]
		file := filepath.Join(t.TempDir(), "jobs")
		p := proctest.Start(t, pipeline, proctest.PIDPath(t), file, where)
		p.Await("INFO ready")
		_, address, _ := strings.Cut(p.Out.String(), "listens at ")
		address, _, _ = strings.Cut(address, "\n")

		const enough = 100
		var jobs sync.Map
		var count atomic.Int32
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for number := range 8 {
			clients.Go(func() {
				client(t, "http://"+address, number, func(job string) {
					jobs.Store(job, true)
					if count.Add(1) == enough {
						close(stop)
					}
				})
			})
		}
		<-stop
		p.Signal(syscall.SIGTERM)
		clients.Wait()
		require.Equal(t, 0, p.Wait(), "%s", p.Out)

		written, err := os.ReadFile(file)
		require.NoError(t, err)
		for job := range bytes.Lines(written) {
			jobs.Delete(string(bytes.TrimSuffix(job, []byte("\n"))))
		}
		var lost []any
		jobs.Range(func(job, _ any) bool { lost = append(lost, job); return true })
		require.Empty(t, lost, "of %d accepted jobs", count.Load())
	}
}
