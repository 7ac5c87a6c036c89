package sdnotify

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// place is a directory for one socket. Its owner holds a lock of it, so one without a lock is that of a process that
// was killed, and who makes the next one removes it. A nil one is nothing.
type place struct {
	path string
	lock *os.File
}

const (
	placePrefix = "lifecycle-notify-"
	socketName  = "notify"
)

// bases are the directories in which nobody else can exchange one of ours. The environment has no say.
func bases() []string {
	if uid := os.Geteuid(); uid != 0 {
		return []string{fmt.Sprintf("/run/user/%d", uid), "/tmp"}
	}
	return []string{"/run"}
}

func listenPrivate(uid int) (s *Server, err error) {
	for _, base := range bases() {
		removeDeadPlaces(base)
		for range 3 { // another one may just have looked whether it is dead
			if s, err = listenIn(base, uid); err == nil {
				return s, nil
			}
		}
	}
	return nil, err
}

// listenIn has the directory stay this process's, so that who may send cannot put anything there. To send needs the
// right to write to the socket (unix(7)), which that user alone has.
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
	if err := os.Chmod(path, 0o700); err != nil { // whatever the umask is
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
	if err := os.Chmod(file, 0o600); err != nil {
		return nil, err
	}
	if uid != os.Geteuid() {
		if err := os.Lchown(file, uid, -1); err != nil {
			return nil, err
		}
		if err := os.Chmod(path, 0o711); err != nil {
			return nil, err
		}
	}
	return s, nil
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

// removeDeadPlaces removes what processes of this user have left that were killed.
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
