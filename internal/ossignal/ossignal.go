// Package ossignal names the signals that not every system has.
package ossignal

import (
	"os"
	"syscall"
)

// User1 is SIGUSR1, nil where there is no such signal.
var User1 os.Signal = user1

// Stop, Continue and Child are SIGSTOP, SIGCONT and SIGCHLD, nil where there are none.
var (
	Stop     os.Signal = stop
	Continue os.Signal = cont
	Child    os.Signal = child
)

// Name returns the name of a signal: SIGSEGV.
func Name(sig syscall.Signal) string { return name(sig) }

// Text returns the name of a signal, or the text of one that is no syscall.Signal.
func Text(sig os.Signal) string {
	if number, ok := sig.(syscall.Signal); ok {
		return Name(number)
	}
	return sig.String()
}
