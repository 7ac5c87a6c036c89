package execve

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"example.com/lifecycle/internal/sys/startup"
)

func selfArgs(args []string) ([]string, error) {
	before, err := loader()
	if err != nil || len(before) == 0 || len(args) == 0 {
		return args, err
	}
	return append(before[:len(before):len(before)], args[1:]...), nil
}

func programArgs(path string, args []string) (exe string, loaderArgs []string, err error) {
	before, err := loader()
	if err != nil || len(before) == 0 || len(args) == 0 {
		return path, args, nil
	}
	loaderArgs = append(before[:len(before)-1:len(before)-1], path)
	return ProcessExecutable, append(loaderArgs, args[1:]...), nil
}

// loader returns the arguments with which the loader ld.so(8) executes this program, with the path
// of the program last. It returns none if the kernel executes the program itself. If a loader was
// executed, /proc/self/exe is the loader, and the program was mapped from another file.
var loader = sync.OnceValues(func() ([]string, error) {
	before := startup.Interpreter()
	if len(before) == 0 {
		return nil, nil
	}
	exe, err := os.Readlink(ProcessExecutable)
	if err != nil {
		return nil, err
	}
	program := mappedFile(reflect.ValueOf(mappedFile).Pointer())
	if program == "" || program == exe {
		return nil, nil // another kind of interpreter
	}
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("its loader %s cannot execute the program again: %w", exe, errors.Unwrap(err))
	}
	return append(before, program), nil
})

// mappedFile returns the file from which the code at that address was mapped (proc_pid_maps(5)).
func mappedFile(address uintptr) string {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(maps)) {
		span, rest, _ := strings.Cut(line, " ")
		first, last, _ := strings.Cut(span, "-")
		from, fromErr := strconv.ParseUint(first, 16, 64)
		to, toErr := strconv.ParseUint(last, 16, 64)
		if fromErr != nil || toErr != nil || uint64(address) < from || uint64(address) >= to {
			continue
		}
		if at := strings.IndexByte(rest, '/'); at >= 0 {
			return strings.ReplaceAll(strings.TrimSuffix(rest[at:], "\n"), `\012`, "\n")
		}
	}
	return ""
}
