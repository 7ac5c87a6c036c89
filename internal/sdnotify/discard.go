package sdnotify

import (
	"os"
	"sync"
)

// close(2) may sleep for as long as the sender of a descriptor wants: SO_LINGER of a socket, also of one that
// waits in the queue of another one, or a file system in the sender's hands. So a descriptor of another process
// is closed by a goroutine of its own, of which there are only so many.
const maxClosing = 8 // calls of close(2) at the same time, each of which may hang

// maxDiscards is how many descriptors wait for that until a Server takes none any more.
var maxDiscards = sync.OnceValue(func() int { return max(1, room()/2) })

// discards is package state because descriptors are limited for the process.
var discards discarder

type discarder struct {
	mu      sync.Mutex
	queue   []func()
	closing int
}

// Discard closes files of other processes elsewhere and does not wait for it. done is closed when they are closed.
func Discard(files ...*os.File) (done <-chan struct{}) {
	closed := make(chan struct{})
	var left sync.WaitGroup
	left.Add(len(files))
	for _, f := range files {
		discards.add(func() {
			defer left.Done()
			calm(f)
			f.Close()
		})
	}
	discards.add(func() { go func() { left.Wait(); close(closed) }() })
	return closed
}

func (d *discarder) add(closes func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, closes)
	if d.closing < maxClosing {
		d.closing++
		go d.run()
	}
}

func (d *discarder) run() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.queue = nil
			d.closing--
			d.mu.Unlock()
			return
		}
		next := d.queue[0]
		d.queue = d.queue[1:]
		d.mu.Unlock()
		next()
	}
}

func (d *discarder) isFull() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queue) >= maxDiscards()
}
