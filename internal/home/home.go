// Package home finds the home directory of a user in the user database, and never in the environment: cron, su and a second
// login must find the same one.
package home

// Of returns the home directory of the user with that ID, from /etc/passwd or what else the name service switch knows. That may take
// it 2 s.
func Of(uid int) (string, error) { return of(uid) }
