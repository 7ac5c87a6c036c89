package lifecycle

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/activation"
	"example.com/lifecycle/internal/sdnotify"
)

// keeper is a service manager that keeps sockets for the next process.
type keeper struct {
	t      *testing.T
	server *sdnotify.Server

	mu    sync.Mutex
	kept  []activation.Socket
	said  []string     // lines about sockets
	ready map[int]bool // processes that have said so
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	server, err := sdnotify.Listen()
	require.NoError(t, err)
	k := &keeper{t: t, server: server, ready: map[int]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := server.Receive()
			if err != nil {
				return
			}
			k.hear(m)
		}
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
		k.drop(func(activation.Socket) bool { return true })
	})
	return k
}

func (k *keeper) hear(m sdnotify.Message) {
	name, _ := m.Value("FDNAME")
	k.mu.Lock()
	if name != "" {
		k.said = append(k.said, strings.ReplaceAll(m.Text, "\n", " "))
	}
	_, isReady := m.Value("READY")
	k.ready[m.PID] = k.ready[m.PID] || isReady
	k.mu.Unlock()
	if _, ok := m.Value("FDSTORE"); ok {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, f := range m.Files {
			k.kept = append(k.kept, activation.Socket{Name: name, File: f})
		}
		return
	}
	<-sdnotify.Discard(m.Files...)
	if _, ok := m.Value("FDSTOREREMOVE"); ok {
		k.drop(func(s activation.Socket) bool { return s.Name == name })
	}
}

func (k *keeper) drop(which func(activation.Socket) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = slices.DeleteFunc(k.kept, func(s activation.Socket) bool {
		if which(s) {
			s.File.Close()
			return true
		}
		return false
	})
}

// heard are the lines about sockets since it was asked last.
func (k *keeper) heard() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	said := k.said
	k.said = nil
	return said
}
