// Package ossignal names signals that some systems do not have.
package ossignal

import (
	"os"
	"syscall"
)

// User1 and User2 are SIGUSR1 and SIGUSR2, or nil if the system does not have them.
var (
	User1 os.Signal = user1
	User2 os.Signal = user2
)

// Stop, Continue and Child are SIGSTOP, SIGCONT and SIGCHLD, or nil if the system does not have
// them.
var (
	Stop     os.Signal = stop
	Continue os.Signal = cont
	Child    os.Signal = child
)

// Name returns the name of the signal, such as SIGSEGV.
func Name(sig syscall.Signal) string { return name(sig) }

// Text returns the name of the signal, or its String if it is not a syscall.Signal.
func Text(sig os.Signal) string {
	if number, ok := sig.(syscall.Signal); ok {
		return Name(number)
	}
	return sig.String()
}
