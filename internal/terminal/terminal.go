// Package terminal tells of the terminal that a program was started on: whether it is still there, and what can be shown on it.
package terminal

import "os"

// Is tells whether f is a terminal.
func Is(f *os.File) bool {
	return isTerminal(f)
}

// Terminal remembers what a program was started on.
type Terminal struct {
	foreground bool // there was a controlling terminal, and the program was in its foreground
}

// Controlling remembers whether the program is in the foreground of a controlling terminal. It is meant to be called at the
// start of a program; it keeps no descriptor open.
func Controlling() *Terminal {
	return controlling()
}

// HungUp tells whether the terminal that Controlling found has hung up since: the window was closed, the connection was
// lost, or the leader of the session has ended. It does so from the moment SIGHUP arrives, and is false for a SIGHUP
// that somebody sent while the terminal is there.
//
// It is false where there was no terminal, or the program was not in its foreground: the kernel tells a job in the background nothing of
// the end of its terminal, so a SIGHUP that comes long after it has another cause.
//
// A program that gives its terminal up itself, by setsid(2) or TIOCNOTTY, is told the same as one that lost it.
func (t *Terminal) HungUp() bool {
	return t.hungUp()
}
