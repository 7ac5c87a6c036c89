// Package startup records the arguments, the standard files and the working directory with which
// this process was started. A program may change all of them before it uses this module.
//
// The package is initialised before any package that imports it, but packages of the program may be
// initialised earlier. Therefore the arguments come from the kernel on Linux.
package startup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
)

// These are the standard files of the process. Their descriptors are 0, 1 and 2, even if the
// program has assigned other files to the variables of package os.
var (
	Stdin  = os.Stdin
	Stdout = os.Stdout
	Stderr = os.Stderr
)

var (
	args, interpreter = readArgs()
	workDir           atomic.Pointer[string] // "": unknown, or outside of the root directory
)

func init() {
	dir, _ := os.Getwd()
	SetDir(dir)
}

// Args returns the arguments of the process, with the name of the program first. The caller may
// change the result.
func Args() []string { return slices.Clone(args) }

// readArgs returns copies of the arguments, because a program that changes its title
// (setproctitle(3)) writes into the memory of os.Args.
func readArgs() (given, before []string) {
	given, before = commandLine(os.Args)
	if len(given) == 0 { // before Linux 5.18, execve(2) permits empty arguments
		given = []string{""}
	}
	for i, arg := range given {
		given[i] = strings.Clone(arg)
	}
	return given, before
}

// choose returns the arguments with which the process was started. now is os.Args, and kernel
// contains the arguments that the kernel reports. They differ in two cases. If the program has
// changed os.Args, the arguments of the kernel are right. If an interpreter such as ld.so(8) or
// Rosetta executes the program, os.Args is the end of kernel. interpreter is the part before that
// end.
func choose(now, kernel []string) (chosen, interpreter []string) {
	before := len(kernel) - len(now)
	switch {
	case len(kernel) == 0:
		return slices.Clone(now), nil
	case len(now) == 0 || before < 0:
		return kernel, nil
	case slices.Equal(kernel[before:], now), named(now, kernel, before):
		return slices.Clone(now), kernel[:before:before]
	}
	return kernel, nil
}

// named reports whether the loader gives the program another name (ld.so(8), --argv0). In that case
// kernel[before] is the path of the program.
func named(now, kernel []string, before int) bool {
	at := slices.Index(kernel, "--argv0")
	return at > 0 && at+1 < before && kernel[at+1] == now[0] && slices.Equal(kernel[before+1:], now[1:])
}

// Interpreter returns the arguments of the interpreter that executes the program, up to the path of
// the program. It is empty if the kernel executes the program itself.
func Interpreter() []string { return slices.Clone(interpreter) }

// Dir returns the working directory in which the process was started, or "" if it is unknown.
func Dir() string { return *workDir.Load() }

// SetDir sets the result of [Dir] in a process that has changed its root directory. dir is the
// directory as seen from the new root, or "" if it is outside.
func SetDir(dir string) { workDir.Store(&dir) }

// Abs returns path as an absolute path. A relative path is relative to [Dir].
func Abs(path string) (string, error) {
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	dir := Dir()
	if dir == "" {
		return "", errors.New("the working directory of the start is unknown, or outside of the root directory")
	}
	return filepath.Join(dir, path), nil
}

// ChildDir returns the directory in which this process must start a child, if the child should
// begin where this process was started. It returns "" if that is the current directory, or if the
// directory no longer exists.
func ChildDir() string {
	dir := Dir()
	there, err := os.Stat(dir)
	if err != nil || !there.IsDir() {
		return ""
	}
	if here, err := os.Stat("."); err == nil && os.SameFile(here, there) {
		return ""
	}
	return dir
}
