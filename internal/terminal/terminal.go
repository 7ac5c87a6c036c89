// Package terminal tells whether the terminal that a program was started on is still there.
package terminal

import "os"

// Is tells whether f is a terminal.
func Is(f *os.File) bool {
	return isTerminal(f)
}

// Terminal remembers what a program was started on.
type Terminal struct {
	tty bool  // there was a controlling terminal
	std []int // those of descriptors 0, 1 and 2 that were terminals
}

// Controlling remembers the controlling terminal and which of descriptors 0, 1 and 2 are terminals. It is meant to be
// called at the start of a program; it keeps no descriptor open.
func Controlling() *Terminal {
	return controlling()
}

// HungUp tells whether a terminal that Controlling found has hung up since: the window was closed, the connection was
// lost, or the leader of the session has ended. It does so from the moment SIGHUP arrives, and is false for a SIGHUP
// that somebody sent while the terminal is there. It is false where there was no terminal.
//
// A program that gives its terminal up itself, by setsid(2) or TIOCNOTTY, is told the same as one that lost it.
func (t *Terminal) HungUp() bool {
	return t.hungUp()
}
