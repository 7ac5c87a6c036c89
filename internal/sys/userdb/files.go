//go:build !darwin

package userdb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// os/user is no alternative. With cgo, it makes the program dynamically linked, and its start takes
// twice as long. Without cgo, it returns $HOME.

// file describes a file of the database. Its lines have fields separated by colons.
type file struct {
	name, what string
	fields     int
}

var (
	passwd = file{"passwd", "user", 7} // name:password:UID:GID:GECOS:directory:shell
	group  = file{"group", "group", 4} // name:password:GID:members
)

func byID(uid int) (User, error) { return toUser(passwd.find(2, strconv.Itoa(uid))) }

func byName(name string) (User, error) { return toUser(passwd.find(0, name)) }

func toUser(fields []string, err error) (u User, _ error) {
	if err != nil {
		return u, err
	}
	uid, uidErr := strconv.Atoi(fields[2])
	gid, gidErr := strconv.Atoi(fields[3])
	return User{Name: fields[0], UID: uid, GID: gid, Home: fields[5], Shell: fields[6]}, errors.Join(uidErr, gidErr)
}

func groupID(name string) (int, error) {
	fields, err := group.find(0, name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(fields[2])
}

// groupsOf asks getent first, because a directory service may know groups that are not in the file.
// If the service does not answer, groupsOf returns an error: otherwise the user would have fewer
// rights than after a login.
func groupsOf(u User) ([]int, error) {
	gids := []int{u.GID}
	add := func(text string) {
		if gid, err := strconv.Atoi(text); err == nil && !slices.Contains(gids, gid) {
			gids = append(gids, gid)
		}
	}
	out, err := ask("initgroups", u.Name)
	switch {
	case err == nil: // NAME GID…
		for _, gid := range strings.Fields(out)[1:] {
			add(gid)
		}
		return gids, nil
	case !errors.Is(err, ErrUnknown) && !errors.Is(err, errNoDatabase):
		return nil, fmt.Errorf("the groups of user %q: %w", u.Name, err)
	}
	err = group.each(func(fields []string) (more bool) {
		if slices.Contains(strings.Split(fields[3], ","), u.Name) {
			add(fields[2])
		}
		return true
	})
	return gids, err
}

// find returns the first entry with that value in that field.
func (f file) find(field int, value string) (found []string, err error) {
	take := func(fields []string) (more bool) {
		if fields[field] == value {
			found = fields
		}
		return found == nil
	}
	if err := f.each(take); err != nil || found != nil {
		return found, err
	}
	out, err := ask(f.name, value)
	if err == nil {
		err = f.eachIn(strings.NewReader(out), take)
	}
	if err == nil && found == nil || errors.Is(err, errNoDatabase) {
		err = ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", f.what, value, err)
	}
	return found, nil
}

// each calls take for each entry of the file. A missing file has no entries.
func (f file) each(take func(fields []string) (more bool)) error {
	entries, err := os.Open("/etc/" + f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer entries.Close()
	return f.eachIn(entries, take)
}

func (f file) eachIn(entries io.Reader, take func(fields []string) (more bool)) error {
	lines := bufio.NewScanner(entries)
	lines.Buffer(nil, 1<<20) // a group may have many members
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), ":"); len(fields) >= f.fields && !take(fields) {
			return nil
		}
	}
	return lines.Err()
}
