//go:build unix

package ossignal

import (
	"os"
	"syscall"
)

var (
	user1 os.Signal = syscall.SIGUSR1
	user2 os.Signal = syscall.SIGUSR2
	stop  os.Signal = syscall.SIGSTOP
	cont  os.Signal = syscall.SIGCONT
	child os.Signal = syscall.SIGCHLD
)
