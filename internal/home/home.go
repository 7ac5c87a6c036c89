// Package home finds the home directory of a user in the user database, and never in the environment: cron, su and a second
// login must find the same one.
package home

// Of returns the home directory of the user with that ID. Where libc can be asked it is, so it knows what the name service
// switch knows; a build without cgo knows /etc/passwd only.
func Of(uid int) (string, error) { return of(uid) }
