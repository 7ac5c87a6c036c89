package terminal

import "os"

// Columns is how many characters a line of the terminal has, 0 where f is no terminal or does not tell.
func Columns(f *os.File) int {
	return columns(f)
}

// InBackground tells whether f is the controlling terminal of this process while another job is in its foreground: somebody may be typing there.
func InBackground(f *os.File) bool {
	return inBackground(f)
}
