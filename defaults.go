package lifecycle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"example.com/lifecycle/internal/safefile"
	"example.com/lifecycle/internal/userdb"
)

// DefaultPIDFile is /run/NAME.pid for root (/var/run/NAME.pid where the system is not Linux), else
// ~/.local/state/NAME/NAME.pid, where ~ is the home in the password database and not in the environment: cron, su and a second
// login must find the same file. A user who is not in the database has /tmp/NAME-UID/NAME.pid. Windows has none: "".
func DefaultPIDFile(name string) string {
	uid := os.Geteuid()
	switch {
	case uid < 0:
		return ""
	case uid == 0 && runtime.GOOS == "linux":
		return filepath.Join("/run", name+".pid")
	case uid == 0:
		return filepath.Join("/var/run", name+".pid")
	}
	if u, err := userdb.ByID(uid); err == nil && filepath.IsAbs(u.Home) {
		return filepath.Join(u.Home, ".local", "state", name, name+".pid")
	}
	return filepath.Join("/tmp", name+"-"+strconv.Itoa(uid), name+".pid")
}

// makeDefaultDir makes the directory of a default file, which a user who is not root may not have yet. No other directory
// is ever made.
func makeDefaultDir(path, suffix string, defaultFile func(name string) string) error {
	name := strings.TrimSuffix(filepath.Base(path), suffix)
	uid := os.Geteuid()
	if uid <= 0 || path != defaultFile(name) {
		return nil
	}
	dir := filepath.Dir(path)
	if err := makeDirs(dir); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err == nil && (!info.IsDir() || safefile.Owner(info) != uid) {
		return safefile.Unsafe("%s is not a directory of user %d", dir, uid)
	}
	return err
}

// makeDirs makes a directory that is missing, and those above it, with mode 0700 whatever the umask.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) { // another start was faster, or it is a link to nothing
		_, err = os.Stat(dir)
		return err
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}
