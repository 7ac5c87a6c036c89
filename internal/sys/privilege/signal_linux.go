package privilege

import "golang.org/x/sys/unix"

// mayKill reports whether this process has CAP_KILL. It returns true if the kernel does not report
// that.
func mayKill() bool {
	var data [2]unix.CapUserData
	if err := unix.Capget(capabilityHeader(), &data[0]); err != nil {
		return true
	}
	return data[0].Effective&(1<<unix.CAP_KILL) != 0
}
