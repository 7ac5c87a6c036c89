//go:build !unix

package ossignal

import "os"

var user1, stop, cont, child os.Signal
