package proctest

import (
	"regexp"
	"sync"
)

// Pattern returns a function that compiles the regular expression at its first call. A variable
// with a compiled one would cost time in every program that a test starts.
func Pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
