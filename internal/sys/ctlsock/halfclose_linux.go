package ctlsock

import (
	"time"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

// WritesClosed reports whether the other end has called CloseWrite or is gone. It waits for at most
// the given time.
func (p *Peer) WritesClosed(within time.Duration) bool {
	return p.poll(unix.POLLRDHUP, within)&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

// AwaitGone blocks until the other end is gone. CloseWrite of the other end does not count.
// AwaitGone blocks an OS thread. Use it only for short waits.
func (p *Peer) AwaitGone() { p.poll(0, -1) }

// poll waits for the events, an error, or the end of both directions. A negative time means no
// limit.
func (p *Peer) poll(events int16, within time.Duration) (happened int16) {
	begun := time.Now()
	_ = rawconn.Control(p.conn, func(fd int) error {
		for {
			left := -1
			if within >= 0 {
				left = int(max(0, within-time.Since(begun)).Milliseconds())
			}
			ready := []unix.PollFd{{Fd: int32(fd), Events: events}}
			if _, err := unix.Poll(ready, left); err != unix.EINTR {
				happened = ready[0].Revents
				return nil
			}
		}
	})
	return happened
}
