//go:build unix && !aix

package privilege

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func drop(dir string, to *Identity) error {
	if dir != "" {
		if err := noDirectories(); err != nil {
			return err
		}
	}
	all := lookAtThreads() // /proc is not visible from another root directory
	defer all.close()
	if dir != "" {
		if err := unix.Chroot(dir); err != nil {
			return notPermitted("chroot "+dir, err, capChroot)
		}
		if err := os.Chdir("/"); err != nil {
			return err
		}
	}
	if to == nil {
		return nil
	}
	if err := become(*to); err != nil {
		return err
	}
	if err := all.check(*to); err != nil {
		return fmt.Errorf(notDropped+"%w", err)
	}
	return tryToReturn(*to)
}

// noDirectories returns an error that names an open descriptor of a directory, or nil if there is
// none.
func noDirectories() error {
	entries, err := os.ReadDir(descriptors)
	if err != nil {
		return fmt.Errorf("cannot list the open descriptors: %w", err)
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		var st unix.Stat_t
		if err != nil || unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		path, err := os.Readlink(descriptors + "/" + entry.Name())
		if err != nil {
			path = "a directory"
		}
		return fmt.Errorf("descriptor %d is open on %s, through which the process could leave the root directory: close it first", fd, path)
	}
	return nil
}

// become uses package syscall, which changes all threads, not only the calling one. It changes the
// user last, because only root may set the groups.
func become(id Identity) error {
	if err := syscall.Setgroups(id.Groups); err != nil {
		return notPermitted("setgroups", err, capSetGID)
	}
	if err := syscall.Setgid(id.GID); err != nil {
		return notPermitted("setgid", err, capSetGID)
	}
	if err := syscall.Setuid(id.UID); err != nil {
		return notPermitted("setuid", err, capSetUID)
	}
	return nil
}

// notPermitted returns the error of a system call. For EPERM, it adds the missing capability or
// setting, if it is known.
func notPermitted(call string, err error, capability capability) error {
	failed := os.NewSyscallError(call, err)
	if advice := capability.advice(); err == unix.EPERM && advice != "" {
		return fmt.Errorf("%w (%s)", failed, advice)
	}
	return failed
}

// tryToReturn returns an error if the process can become root again.
func tryToReturn(from Identity) error {
	if from.UID != 0 && syscall.Setuid(0) == nil {
		return fmt.Errorf(notDropped+"user %d could become root again", from.UID)
	}
	if from.UID != 0 && from.GID != 0 && syscall.Setgid(0) == nil {
		return fmt.Errorf(notDropped+"user %d could enter group 0 again", from.UID)
	}
	return nil
}
