package lifecycle

import (
	"example.com/lifecycle/internal/readyfd"
	"example.com/lifecycle/internal/secureenv"
)

// readyVariable names a descriptor, by its number, to which a newline is written when all is ready. s6 and dinit give such a descriptor to a service, as does OpenRC from
// 0.60 on, but there is no standard for how the service learns its number; this name is the one that the author of s6 proposes, and what dinit is told with
// "ready-notification = pipevar:READY_FD".
const readyVariable = "READY_FD"

// findReadyFD takes the descriptor from the environment: what the program starts gets neither it nor the variable. A launcher tells it when the start has
// succeeded, so a detached process has none.
func (l *life) findReadyFD() {
	number := secureenv.Take(readyVariable)
	if number == "" || InDaemon() {
		return
	}
	var err error
	if l.readyFD, err = readyfd.Take(number); err != nil {
		l.log.Warn("nobody is told when this is ready, for "+readyVariable+" is wrong", "err", err)
	}
}

// tellReadyFD says that all is ready.
func (l *life) tellReadyFD() {
	if err := l.readyFD.Tell(); err != nil {
		l.log.Warn("whoever waits at the descriptor of "+readyVariable+" cannot be told", "err", err)
	}
}
