//go:build unix && !aix && !linux

package execve

import "os"

func closeOnExec(from int) error { return closeListedOnExec("/dev/fd", from) }

func emptySignalMask() {}

func ignoredSignals() []os.Signal { return ignorable } // those that may be

func defaultSignals() (any bool) { return false }

func defaultRuntimeSignals() {}

func nameProcess(string) {}
