package privilege

import "errors"

// IsSetuid reports whether this process was executed with rights that its caller does not have: its
// file is setuid or setgid, or has capabilities(7), or a security module says so (AT_SECURE,
// getauxval(3)). The environment of such a process is the word of a stranger (secure_getenv(3)).
// That is asked once, before main: setuid(2) changes the user IDs, but not who has made the
// environment. It is false where root is the caller and stays root.
func IsSetuid() bool { return executed.isSetuid }

// IsFileCapable reports whether IsSetuid is true though user and group are the caller's. So he can
// make all that this process can make, a socket pair for one, and nothing tells who has made it.
func IsFileCapable() bool { return executed.isSetuid && !executed.asOther }

// ErrFileCapable says why a process for which IsFileCapable is true does not execute itself again.
var ErrFileCapable = errors.New("the file of this program gives it capabilities(7), " +
	"so whoever calls it could pose as its parent: remove them (setcap -r), " +
	"and let a service manager give them (AmbientCapabilities=), or run it in the foreground and unsupervised")

// executed is how the kernel has begun this process.
var executed = lookAtStart()

type execution struct {
	isSetuid bool // with more rights than the caller
	asOther  bool // with another effective user or group than the caller's
}
