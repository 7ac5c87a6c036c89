//go:build !unix

package terminal

import "os"

func isTerminal(*os.File) bool { return false }

func columns(*os.File) int { return 0 }

func inBackground(*os.File) bool { return false }

func controlling() *Terminal { return &Terminal{} }

func (t *Terminal) hungUp() bool { return false }
