package startup

import (
	"os"
	"sync"
)

// FillStandard opens /dev/null at each of the descriptors 0, 1 and 2 that the program has closed.
// Otherwise the next file or socket of this process would become its stdin, stdout or stderr. C
// code or the Go runtime would then write to it.
func FillStandard() error { return fillStandard() }

// Descriptors returns the files that descriptors 0, 1 and 2 refer to now. Use them only to pass
// them to a child.
func Descriptors() []*os.File { return descriptors() }

// descriptors keeps the files forever, because freeing them would close the descriptors.
var descriptors = sync.OnceValue(func() (all []*os.File) {
	for fd, name := range []string{"stdin", "stdout", "stderr"} {
		all = append(all, os.NewFile(uintptr(fd), name))
	}
	return all
})
