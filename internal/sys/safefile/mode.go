package safefile

import (
	"io/fs"
	"os"
)

// SetMode gives the open file f exactly that mode, independent of the umask. Some file systems do
// not keep modes, such as vfat and many network and shared folders. There, SetMode returns nil on
// two conditions: the file's own mode gives the owner the wanted rights, and it gives other users
// no additional right except to execute the file.
func SetMode(f *os.File, mode fs.FileMode) error {
	info, err := f.Stat()
	if err != nil || info.Mode().Perm() == mode {
		return err
	}
	err = f.Chmod(mode)
	if err != nil && fits(info.Mode().Perm(), mode) {
		return nil
	}
	return err
}

func fits(has, wanted fs.FileMode) bool {
	const execute, owner = 0o111, 0o600
	return has&^execute&^wanted == 0 && has&owner == wanted&owner
}
