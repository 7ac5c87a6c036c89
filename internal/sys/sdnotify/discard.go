package sdnotify

import (
	"os"
	"sync"
)

// The sender of a descriptor can make close(2) block in three ways: with SO_LINGER on the socket,
// with SO_LINGER on a socket in its queue, or with a file system that the sender serves. Therefore
// separate goroutines close the descriptors of other processes. maxClosing limits their number.
const maxClosing = 8 // concurrent calls of close(2)

// maxDiscards is how many descriptors may wait to be closed. A Server accepts no more until some
// are closed.
var maxDiscards = sync.OnceValue(func() int { return max(1, room()/2) })

// discards is package state because the limit of descriptors belongs to the process.
var discards discarder

type discarder struct {
	mu      sync.Mutex
	queue   []func()
	closing int
}

// Discard closes files of other processes in other goroutines. It does not wait. done is closed
// when the files are closed.
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
