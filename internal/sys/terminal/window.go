package terminal

import "os"

// Columns returns the width of the terminal in characters, or 0 if f is not a terminal or has no
// known width.
func Columns(f *os.File) int {
	return columns(f)
}

// InBackground reports whether f is the controlling terminal of this process while another job is
// in its foreground. The user may be typing there.
func InBackground(f *os.File) bool {
	return inBackground(f)
}
