// Package stacktrace returns the stack of one goroutine as readable text: one line per frame, with
// function, file and line number. The text contains no addresses, no arguments and no frames of the
// Go runtime.
package stacktrace

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
)

// maxFrames is the greatest number of frames in a text.
const maxFrames = 100

// OfPanic returns the stack of the function that panicked or called runtime.Goexit. A deferred
// function of that goroutine must call it. The text ends above the function whose name ends with
// bottom. It also omits the methods of that package that the function calls first.
func OfPanic(bottom string) []byte {
	pc := make([]uintptr, 2*maxFrames)
	frames := runtime.CallersFrames(pc[:runtime.Callers(2, pc)])
	var text text
	for panicking, more := false, true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if panicking && strings.HasSuffix(f.Function, bottom) {
			text.trimCallers(strings.TrimSuffix(f.Function, bottom))
			break
		}
		// The frames before this one belong to the deferred function.
		panicking = panicking || f.Function == "runtime.gopanic" || f.Function == "runtime.Goexit"
		if panicking {
			text.add(f.Function, fmt.Sprintf("%s:%d", f.File, f.Line))
		}
	}
	return text.bytes()
}

// OfLabel returns the stacks of the goroutines that have this profiler label and whose stack
// contains a function with a name that ends with bottom. Each text ends above that function.
// OfLabel returns nil if there is no such goroutine.
//
// It uses the goroutine profile, because runtime.Stack for all goroutines would stop all goroutines
// for much longer.
func OfLabel(key, value, bottom string) []byte {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return []byte(err.Error())
	}
	label := fmt.Sprintf("%q:%q", key, value)
	var stacks [][]byte
	for record := range strings.SplitSeq(profile.String(), "\n\n") {
		if !strings.Contains(record, label) {
			continue
		}
		if stack, found := readRecord(record, bottom); found {
			stacks = append(stacks, stack)
		}
	}
	return bytes.Join(stacks, []byte("\n\n"))
}

// readRecord returns the stack in a record of a goroutine profile. It reports whether bottom is in
// the stack.
func readRecord(record, bottom string) (stack []byte, found bool) {
	var text text
	for line := range strings.Lines(record) {
		line, isFrame := strings.CutPrefix(strings.TrimSpace(line), "#\t0x")
		if !isFrame {
			continue
		}
		_, line, _ = strings.Cut(line, "\t") // the address
		at := strings.LastIndex(line, "\t")
		function := strings.TrimRight(line[:max(0, at)], "\t")
		if offset := strings.LastIndex(function, "+0x"); offset >= 0 {
			function = function[:offset]
		}
		if strings.HasSuffix(function, bottom) {
			text.trimCallers(strings.TrimSuffix(function, bottom))
			return text.bytes(), true
		}
		text.add(function, line[at+1:])
	}
	return nil, false
}

// Line returns a stack as one line, for log records. The handler of a log would escape each
// newline.
func Line(stack []byte) string {
	return strings.ReplaceAll(string(bytes.TrimSpace(stack)), "\n", " < ")
}

type text []string

func (t *text) add(function, place string) {
	if !strings.HasPrefix(function, "runtime.") {
		*t = append(*t, function+" "+place)
	}
}

// trimCallers removes the outermost frames that are methods of that package, or closures of them.
func (t *text) trimCallers(pkg string) {
	for n := len(*t); n > 1 && strings.HasPrefix((*t)[n-1], pkg+".(*"); n-- {
		*t = (*t)[:n-1]
	}
}

func (t text) bytes() []byte {
	if len(t) > maxFrames {
		t = append(t[:maxFrames:maxFrames], "…")
	}
	return []byte(strings.Join(t, "\n"))
}
