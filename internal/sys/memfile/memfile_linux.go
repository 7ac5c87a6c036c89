package memfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// Seals are the seals of a file from Seal (F_ADD_SEALS in fcntl(2)).
const Seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// Seal makes a sealed memory file with that content. The file is close-on-exec and cannot be
// executed.
func Seal(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // Linux before 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(content); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, Seals)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// IsSealed reports whether the descriptor is a memory file with these seals.
func IsSealed(fd int) bool {
	has, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	return err == nil && has&Seals == Seals
}
