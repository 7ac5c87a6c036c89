package privilege

// IsSetuid reports whether this process was executed with rights that its caller does not have. Its
// file is setuid or setgid, or has capabilities(7), or a security module set AT_SECURE
// (getauxval(3)). The environment of such a process is not trustworthy (secure_getenv(3)). The
// result is determined once, before main, because the environment stays untrustworthy after
// setuid(2). It is false if both the caller and the process are root.
func IsSetuid() bool { return executed.isSetuid }

// IsFileCapable reports whether IsSetuid is true although this process has the user and group of
// its caller. Both can make a socket pair, and nothing shows which of the two has made it.
func IsFileCapable() bool { return executed.isSetuid && !executed.asOther }

// WhyNotFileCapable is the reason why a process does not execute itself again if IsFileCapable
// returns true.
const WhyNotFileCapable = "the program file has capabilities(7), " +
	"so its caller could pose as its launcher or supervisor: remove them (setcap -r) " +
	"and let a service manager grant them (AmbientCapabilities=), or run in the foreground without Supervise"

// executed describes how the kernel started this process.
var executed = lookAtStart()

type execution struct {
	isSetuid bool // with more rights than the caller
	asOther  bool // effective user or group differs from the caller's
}
