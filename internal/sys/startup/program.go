package startup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// environment is the environment of the start. It is package state because the program may change
// the environment before it uses this module.
var environment = os.Environ()

// Environ returns the environment with which the process was started, without the variables with
// these names. A name that ends with "*" means all names with that prefix.
func Environ(without ...string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.ContainsFunc(without, func(pattern string) bool {
			prefix, open := strings.CutSuffix(pattern, "*")
			return name == pattern || open && strings.HasPrefix(name, prefix)
		})
	})
}

// Program returns the path by which this program was called, as an absolute path. A name without a
// slash was looked up in PATH. Program does not resolve symbolic links. Therefore the path names
// another program after a link in it has changed. The caller may have started this program under a
// name that is not its path. If the path does not name this program now, Program returns the path
// of the executable.
func Program() (string, error) {
	path, found := called(args[0])
	if found && (len(interpreter) > 0 || isThisProgram(path)) {
		return path, nil
	}
	return os.Executable()
}

// called returns the absolute path of the file that has the name of a program.
func called(name string) (path string, found bool) {
	if strings.ContainsRune(name, filepath.Separator) {
		path, err := Abs(name)
		return path, err == nil
	}
	for _, entry := range environment {
		list, isPath := strings.CutPrefix(entry, "PATH=")
		if !isPath {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			path, err := Abs(filepath.Join(dir, name))
			if err == nil && isProgram(path) {
				return path, true
			}
		}
	}
	return "", false
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func isThisProgram(path string) bool {
	self, err := os.Executable()
	if err != nil {
		return false
	}
	running, err := os.Stat("/proc/self/exe")
	if err != nil {
		running, err = os.Stat(self)
	}
	named, nameErr := os.Stat(path)
	return err == nil && nameErr == nil && os.SameFile(running, named)
}
