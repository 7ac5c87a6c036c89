// Package userdb asks the user database: passwd(5) and group(5), or what else the name service switch knows. It never asks the environment: cron,
// su and a second login must find the same answer.
package userdb

import "errors"

// User is an entry of the database.
type User struct {
	Name     string
	UID, GID int
	Home     string
	Shell    string // "": none is named
}

// ErrUnknown says that there is no such user or group.
var ErrUnknown = errors.New("not in the user database")

// ByID returns the user with that ID. A directory service may take 2 s to answer, here and below.
func ByID(uid int) (User, error) { return byID(uid) }

// ByName returns the user of that name.
func ByName(name string) (User, error) { return byName(name) }

// GroupID returns the ID of the group of that name.
func GroupID(name string) (int, error) { return groupID(name) }

// GroupsOf returns the groups that a login of that user has, as initgroups(3): its own first.
func GroupsOf(u User) ([]int, error) { return groupsOf(u) }
