package sdnotify

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// place is a directory for one socket. The process that made it holds a lock on it. If no process
// holds the lock, the process that made the place was killed. The next process that makes a place
// removes it. The methods of a nil place do nothing.
type place struct {
	path string
	lock *os.File
}

const (
	placePrefix = "lifecycle-notify-"
	socketName  = "notify"
)

// bases returns directories in which no other user can replace our place. It does not use the
// environment.
func bases() []string {
	if uid := os.Geteuid(); uid != 0 {
		return []string{fmt.Sprintf("/run/user/%d", uid), "/tmp"}
	}
	return []string{"/run"}
}

func listenPrivate(uid int) (s *Server, err error) {
	for _, base := range bases() {
		removeDeadPlaces(base)
		for range 3 { // another process may be checking whether the directory is abandoned
			if s, err = listenIn(base, uid); err == nil {
				return s, nil
			}
		}
	}
	return nil, err
}

// listenIn makes a place and a socket that only root and the user uid can use. The directory
// belongs to the user of this process. Therefore uid cannot put files there. A sender needs write
// permission on the socket (unix(7)).
func listenIn(base string, uid int) (s *Server, err error) {
	path, err := os.MkdirTemp(base, placePrefix)
	if err != nil {
		return nil, err
	}
	p := &place{path: path}
	defer func() {
		if err != nil {
			p.remove()
		}
	}()
	if err := os.Chmod(path, 0o700); err != nil { // independent of the umask
		return nil, err
	}
	if p.lock, err = lockPlace(path); err != nil {
		return nil, err
	}
	file := filepath.Join(path, socketName)
	if s, err = bindAt(&unix.SockaddrUnix{Name: file}); err != nil {
		return nil, err
	}
	s.place = p
	defer func() {
		if err != nil {
			s.file.Close()
		}
	}()
	mode, directory := os.FileMode(0o600), os.FileMode(0o700)
	switch uid {
	case os.Geteuid():
	case AnyUser:
		mode, directory = 0o666, 0o711
	default:
		directory = 0o711
		if err := os.Lchown(file, uid, -1); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(file, mode); err != nil {
		return nil, err
	}
	return s, os.Chmod(path, directory)
}

func lockPlace(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	return f, nil
}

func (p *place) remove() {
	if p == nil {
		return
	}
	_ = os.Remove(filepath.Join(p.path, socketName))
	_ = os.Remove(p.path)
	if p.lock != nil {
		p.lock.Close()
	}
}

func (p *place) parts() (path string, lock *os.File) {
	if p == nil {
		return "", nil
	}
	return p.path, p.lock
}

// removeDeadPlaces removes the directories of killed processes of this user.
func removeDeadPlaces(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(base, e.Name())
		if !strings.HasPrefix(e.Name(), placePrefix) {
			continue
		}
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
			continue
		}
		if lock, err := lockPlace(path); err == nil {
			(&place{path, lock}).remove()
		}
	}
}
