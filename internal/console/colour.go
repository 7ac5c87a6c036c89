package console

import (
	"io"
	"os"

	"example.com/lifecycle/internal/sys/secureenv"
	"example.com/lifecycle/internal/sys/terminal"
)

// Colour is the escape code that starts a colour. The zero value is the normal colour.
type Colour string

// These are the colours of the states in a status.
const (
	Green  Colour = "\x1b[32m"
	Yellow Colour = "\x1b[33m"
	Red    Colour = "\x1b[31m"
)

const reset = "\x1b[0m"

// Colourize returns text in that colour if out is a terminal that supports colours and the
// environment does not forbid them. Otherwise it returns text unchanged.
func Colourize(out io.Writer, colour Colour, text string) string {
	f, ok := out.(*os.File)
	if colour == "" || !ok || !terminal.Is(f) || !supportsANSI() || noColour() {
		return text
	}
	return string(colour) + text + reset
}

// supportsANSI reports whether the terminal executes escape codes.
func supportsANSI() bool {
	kind := secureenv.Get("TERM")
	return kind != "" && kind != "dumb"
}

// noColour reports whether the user has turned escape codes off (no-color.org).
func noColour() bool { return secureenv.Get("NO_COLOR") != "" }
