package worker

import (
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/takeover"
)

// forks passes functions to one thread that makes all forks. That thread never ends, because a
// child is killed when the thread that forked it ends (PR_SET_PDEATHSIG(2const): "the 'parent' in
// this case is considered to be the thread"). It blocks no signal, because a child inherits the
// signal mask of that thread. If this process executes another program, this thread must do it,
// because execve(2) ends all other threads. forks is package state because threads belong to the
// process.
var forks = sync.OnceValue(func() chan<- func() {
	c := make(chan func())
	serve := func() {
		execve.EmptySignalMask()
		for do := range c {
			do()
		}
	}
	// The thread that executed this program is the first thread now. It is the parent of the children
	// that the earlier program has started.
	if takeover.Inherited() == nil || !onFirstThread(serve) {
		go func() {
			runtime.LockOSThread()
			serve()
		}()
	}
	return c
})

// The function main, or a goroutine that waits in a system call, may occupy the first thread later.
func init() {
	if takeover.Inherited() != nil {
		go forks()
	}
}

const (
	// firstThreadTime is how long onFirstThread tries.
	firstThreadTime = 2 * time.Second
	// maxTries is how many threads onFirstThread occupies at the same time.
	maxTries = 32
)

// onFirstThread calls serve in the first thread of the process, in another goroutine. It reports
// whether it has got that thread. Go code cannot choose its thread. Therefore onFirstThread starts
// goroutines that keep their threads, until one of them runs on the first thread. The other threads
// then end.
func onFirstThread(serve func()) bool {
	got := make(chan struct{})
	pause := time.Millisecond
	for tries, begun := 4, time.Now(); time.Since(begun) < firstThreadTime; tries = min(2*tries, maxTries) {
		release := make(chan struct{})
		var running sync.WaitGroup
		for range tries {
			running.Add(1)
			go func() {
				runtime.LockOSThread() // without an unlock, the thread ends with the goroutine
				isFirst := unix.Gettid() == os.Getpid()
				if isFirst {
					close(got)
				}
				running.Done()
				if isFirst {
					serve()
				}
				<-release
			}()
		}
		running.Wait()
		close(release)
		select {
		case <-got:
			return true
		default:
			time.Sleep(pause)
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
	return false
}
