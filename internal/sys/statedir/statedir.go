// Package statedir finds and makes the default directory for the files of a daemon of a user other
// than root. This is ~/.local/state/NAME, or /tmp/NAME-UID for a user who is in no user database.
package statedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/userdb"
)

// Of returns the directory for a daemon of that name and the user of this process. It returns an
// error if the user database does not answer, because a wrong directory could belong to another
// daemon.
func Of(name string) (dir string, err error) {
	uid := os.Geteuid()
	u, err := userdb.ByID(uid)
	switch {
	case errors.Is(err, userdb.ErrUnknown), err == nil && !filepath.IsAbs(u.Home):
		return without(name, uid), nil
	case err != nil:
		return "", fmt.Errorf("cannot find the home directory: %w", err)
	}
	return filepath.Join(u.Home, ".local", "state", name), nil
}

// without returns the directory of a user without a home directory.
func without(name string, uid int) string {
	return filepath.Join("/tmp", name+"-"+strconv.Itoa(uid))
}

// Make makes the directory dir, with mode 0700 and independent of the umask. dir may already exist.
// If dir is not the result of [Of] for that name, Make does nothing. It queries the user database
// only if dir looks like a result of Of.
func Make(dir, name string) error {
	uid := os.Geteuid()
	looksDefault := strings.HasSuffix(dir, filepath.Join("/.local/state", name)) || dir == without(name, uid)
	if uid <= 0 || !looksDefault {
		return nil
	}
	if of, err := Of(name); err != nil || dir != of {
		return nil // the program has chosen this path, which must already exist
	}
	if err := makeDirs(dir); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err == nil && (!info.IsDir() || safefile.Owner(info) != uid) {
		return safefile.Unsafe("%s is not a directory of user %d", dir, uid)
	}
	return err
}

// makeDirs makes a missing directory and its missing parents.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) { // another start has made it first, or it is a dangling link
		_, err = os.Stat(dir)
		return err
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}
