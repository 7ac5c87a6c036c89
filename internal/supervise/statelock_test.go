package supervise

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEffectsRunInOrderAndWithoutTheLock(t *testing.T) {
	t.Parallel()
	var l stateLock
	var done []int
	l.Lock()
	for i := range 3 {
		l.After(func() {
			l.Lock() // hangs if the lock is not free
			defer l.Unlock()
			l.After(func() { done = append(done, i) })
		})
	}
	require.Empty(t, done)
	l.Unlock()
	require.Equal(t, []int{0, 1, 2}, done)
}

func TestAHangingEffectDoesNotHoldTheLock(t *testing.T) {
	t.Parallel()
	var l stateLock
	hangs := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		l.Lock()
		l.After(func() { <-hangs })
		l.Unlock()
	})
	free := 0
	for range 10 {
		l.Lock()
		free++
		l.Unlock()
	}
	require.Equal(t, 10, free)
	close(hangs)
	all.Wait()
}
