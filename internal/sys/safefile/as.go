package safefile

import (
	"io/fs"
	"os"

	"example.com/lifecycle/internal/sys/privilege"
)

// AppendAs does the same as [Append] with the rights of a user, for a directory that belongs to
// that user. It opens no file that the user could not open. It opens the directory itself with the
// rights of this process. If user is nil, AppendAs is Append.
func AppendAs(path string, mode fs.FileMode, user *privilege.Identity) (
	f *os.File, created bool, err error,
) {
	if user == nil {
		return Append(path, mode)
	}
	err = within(path, user, func(p place) error {
		f, created, err = p.create(os.O_WRONLY|os.O_APPEND, mode)
		return err
	})
	return f, created, err
}

// OpenAs is [Open] with the rights of that user; see [AppendAs].
func OpenAs(path string, user *privilege.Identity) (f *os.File, err error) {
	if user == nil {
		return Open(path)
	}
	err = within(path, user, func(p place) error {
		f, err = p.openRegular(os.O_RDONLY)
		return err
	})
	return f, err
}
