//go:build unix

package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// parseSignal returns the signal with that name, with or without SIG.
func parseSignal(name string) (os.Signal, error) {
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if sig == 0 {
		return nil, fmt.Errorf("%s is no signal; use a name such as QUIT or USR1", name)
	}
	return sig, nil
}
