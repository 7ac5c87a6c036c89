//go:build !linux

package safefile

import "example.com/lifecycle/internal/sys/privilege"

func within(path string, user *privilege.Identity, do func(place) error) error {
	return privilege.As(*user, func() error { return do(placeAt(path)) })
}
