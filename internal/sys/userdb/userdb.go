// Package userdb queries the user database: passwd(5) and group(5), or the name service switch. It
// never uses the environment, because cron, su and a second login must get the same answer.
//
// Only [ErrUnknown] means that there is no such user. Every other error means that a source of the
// database did not answer.
package userdb

import "errors"

// User is an entry of the database.
type User struct {
	Name     string
	UID, GID int
	Home     string
	Shell    string // "" if none is set
}

// ErrUnknown reports that there is no such user or group.
var ErrUnknown = errors.New("not in the user database")

// ByID returns the user with that ID. If a directory service is slow, ByID takes at most 2 s. A
// process asks the service each question only once. The same is true for the other functions.
func ByID(uid int) (User, error) { return byID(uid) }

// ByName returns the user with that name.
func ByName(name string) (User, error) { return byName(name) }

// GroupID returns the ID of the group with that name.
func GroupID(name string) (int, error) { return groupID(name) }

// GroupsOf returns the groups of a login of that user, as initgroups(3) does, beginning with the
// user's own group.
func GroupsOf(u User) ([]int, error) { return groupsOf(u) }
