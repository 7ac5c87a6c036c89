package safefile

import (
	"io/fs"
	"os"

	"example.com/lifecycle/internal/privilege"
)

// AppendAs is [Append] in a directory that belongs to a user, with his rights: what he can put in
// the place of the file is nothing that he could not open himself. The way to the directory is gone
// with the rights of this process. With nil it is Append.
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

// OpenAs is [Open] for that user; see [AppendAs].
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
