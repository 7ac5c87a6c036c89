package privilege

import "golang.org/x/sys/unix"

// capability is a right that a system call needs (capabilities(7)).
type capability struct {
	name string
	bit  int
}

var (
	capSetGID = capability{"CAP_SETGID", unix.CAP_SETGID}
	capSetUID = capability{"CAP_SETUID", unix.CAP_SETUID}
	capChroot = capability{"CAP_SYS_CHROOT", unix.CAP_SYS_CHROOT}
)

// advice returns why a call that needs the capability failed with EPERM, or "" if the reason is
// unknown.
func (c capability) advice() string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	switch err := unix.Capget(&header, &data[0]); {
	case err != nil:
	case data[0].Effective&(1<<c.bit) == 0:
		return "root needs the capability " + c.name
	case c == capSetGID:
		return "the user namespace might not permit it; see user_namespaces(7)"
	}
	return ""
}
