package userdb

import (
	"errors"
	"os/user"
	"strconv"
)

func byID(uid int) (User, error) { return toUser(user.LookupId(strconv.Itoa(uid))) }

func byName(name string) (User, error) { return toUser(user.Lookup(name)) }

func toUser(u *user.User, err error) (User, error) {
	if err != nil {
		return User{}, errors.Join(ErrUnknown, err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	return User{Name: u.Username, UID: uid, GID: gid, Home: u.HomeDir}, errors.Join(uidErr, gidErr)
}

func groupID(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, errors.Join(ErrUnknown, err)
	}
	return strconv.Atoi(g.Gid)
}

func groupsOf(u User) ([]int, error) {
	ids, err := (&user.User{Username: u.Name, Uid: strconv.Itoa(u.UID), Gid: strconv.Itoa(u.GID)}).GroupIds()
	gids := []int{u.GID}
	for _, id := range ids {
		if gid, err := strconv.Atoi(id); err == nil && gid != u.GID {
			gids = append(gids, gid)
		}
	}
	return gids, err
}
