package safefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/lifecycle/internal/sys/bytetext"
)

// Advice returns what a user can do about err, the error of an operation on the file at path. It
// returns "" if it knows no advice. The same errno has different reasons in different operations.
// Therefore Advice considers which operation failed, and checks whether the usual reason applies.
func Advice(path string, err error) string {
	op := ""
	var at *fs.PathError
	var short *opError
	var unsafe *unsafeError
	switch {
	case errors.As(err, &at):
		op, path = at.Op, at.Path
	case errors.As(err, &short):
		op = short.op
	}
	denied, user := errors.Is(err, fs.ErrPermission), os.Geteuid()
	dir := filepath.Dir(path)
	switch {
	case errors.As(err, &unsafe):
		return unsafe.advice
	case errors.Is(err, ErrUnsafe):
	case op == "open" && errors.Is(err, fs.ErrNotExist) && missing(dir):
		return fmt.Sprintf("the directory %s must exist", bytetext.Escape(dir))
	case op == "lstat" && errors.Is(err, fs.ErrNotExist): // Guard inspects each directory
		return fmt.Sprintf("the directory %s must exist", bytetext.Escape(path))
	case op == "open" && denied && missing(path), op == "remove" && denied, op == "mkdir" && denied, op == "bind" && denied:
		if writable(dir) != nil {
			return fmt.Sprintf("user %d must be able to write the directory %s", user, bytetext.Escape(dir))
		}
	case op == "open" && denied:
		return fmt.Sprintf("as user %d", user)
	case op == "chmod" && denied:
		if info, err := os.Lstat(path); err == nil && Owner(info) != user && user != 0 {
			return fmt.Sprintf("the file belongs to user %d, and this process is user %d", Owner(info), user)
		}
		return "the file system does not let this process change modes"
	case op == "chown" && denied && user == 0:
		return "root needs the capability CAP_CHOWN and a file system that keeps owners"
	}
	return ""
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
