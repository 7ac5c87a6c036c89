//go:build unix && !aix && !linux

package execve

import "os"

func closeOnExec(from int) error { return closeListedOnExec("/dev/fd", from) }

func emptySignalMask() {}

func ignoredSignals() []os.Signal { return ignorable } // all of them, ignored or not

func defaultSignals() (any bool) { return false }

func defaultRuntimeSignals() {}

func nameProcess(string) {}

func ignoreSignal(os.Signal) (restore func()) { return func() {} }

func defaultSignal(os.Signal) (restore func()) { return func() {} }
