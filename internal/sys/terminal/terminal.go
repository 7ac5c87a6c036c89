// Package terminal reports whether the terminal on which a program was started still exists, and
// what it can display.
package terminal

import "os"

// Is reports whether f is a terminal.
func Is(f *os.File) bool {
	return isTerminal(f)
}

// Terminal describes the terminal on which a program was started.
type Terminal struct {
	foreground bool // the program was in the foreground of a controlling terminal
}

// Controlling records whether the program is in the foreground of a controlling terminal. A program
// must call it at its start. Controlling keeps no descriptor open.
func Controlling() *Terminal {
	return controlling()
}

// HungUp reports whether the terminal that Controlling found has hung up since. A terminal hangs up
// when its window is closed, its connection is lost, or the session leader has ended. HungUp
// returns true as soon as the SIGHUP of the terminal arrives. It returns false if another process
// sent SIGHUP while the terminal exists.
//
// HungUp also returns false if there was no terminal, or if the program was not in its foreground.
// The kernel does not report the end of a terminal to a background job. A much later SIGHUP has
// another cause.
//
// HungUp also returns true if the program itself has given up its terminal, with setsid(2) or
// TIOCNOTTY.
func (t *Terminal) HungUp() bool {
	return t.hungUp()
}
