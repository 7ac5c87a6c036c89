//go:build !unix || aix

package execve

import (
	"errors"
	"os"
)

func closeOnExec(int) error { return errors.ErrUnsupported }

func emptySignalMask() {}

func ignoredSignals() []os.Signal { return nil }

func defaultSignals() (any bool) { return false }

func defaultRuntimeSignals() {}

func replace([]string) error { return errors.ErrUnsupported }

func thisProgram() string {
	path, _ := os.Executable()
	return path
}

func nameProcess(string) {}

func ignoreSignal(os.Signal) (restore func()) { return func() {} }

func defaultSignal(os.Signal) (restore func()) { return func() {} }
