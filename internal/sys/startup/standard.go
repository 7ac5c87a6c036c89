package startup

import (
	"os"
	"sync"
)

// FillStandard opens /dev/null at each of the descriptors 0, 1 and 2 that the program has closed.
// Without it, the next file or socket of this process would become its stdin, stdout or stderr, and
// C code or the Go runtime would write to it.
func FillStandard() error { return fillStandard() }

// Descriptors returns the files that descriptors 0, 1 and 2 refer to now. They are only for passing
// them to a child.
func Descriptors() []*os.File { return descriptors() }

// descriptors never frees the files, because that would close them.
var descriptors = sync.OnceValue(func() (all []*os.File) {
	for fd, name := range []string{"stdin", "stdout", "stderr"} {
		all = append(all, os.NewFile(uintptr(fd), name))
	}
	return all
})
