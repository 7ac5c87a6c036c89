//go:build !unix

package ossignal

import "os"

var user1, user2, stop, cont, child os.Signal
