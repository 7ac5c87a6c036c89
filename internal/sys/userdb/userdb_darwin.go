package userdb

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"time"
)

func byID(uid int) (User, error) {
	return toUser(within(func() (*user.User, error) { return user.LookupId(strconv.Itoa(uid)) }))
}

func byName(name string) (User, error) {
	return toUser(within(func() (*user.User, error) { return user.Lookup(name) }))
}

// patience is how long a directory service may take to answer.
const patience = 2 * time.Second

// within returns the result of look, or an error after that time.
func within[T any](look func() (T, error)) (found T, err error) {
	done := make(chan struct{})
	var result T
	var failure error
	go func() {
		defer close(done)
		result, failure = look()
	}()
	select {
	case <-done:
		return result, failure
	case <-time.After(patience):
		return found, fmt.Errorf("the user database did not answer in %v", patience)
	}
}

// known returns ErrUnknown for the errors of os/user that report a missing entry.
func known(err error) error {
	if errors.As(err, new(user.UnknownUserIdError)) || errors.As(err, new(user.UnknownUserError)) ||
		errors.As(err, new(user.UnknownGroupError)) {
		return errors.Join(ErrUnknown, err)
	}
	return err
}

func toUser(u *user.User, err error) (User, error) {
	if err != nil {
		return User{}, known(err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	return User{Name: u.Username, UID: uid, GID: gid, Home: u.HomeDir}, errors.Join(uidErr, gidErr)
}

func groupID(name string) (int, error) {
	g, err := within(func() (*user.Group, error) { return user.LookupGroup(name) })
	if err != nil {
		return 0, known(err)
	}
	return strconv.Atoi(g.Gid)
}

func groupsOf(u User) ([]int, error) {
	of := &user.User{Username: u.Name, Uid: strconv.Itoa(u.UID), Gid: strconv.Itoa(u.GID)}
	ids, err := within(of.GroupIds)
	gids := []int{u.GID}
	for _, id := range ids {
		if gid, err := strconv.Atoi(id); err == nil && gid != u.GID {
			gids = append(gids, gid)
		}
	}
	return gids, err
}
