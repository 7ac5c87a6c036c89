//go:build !linux

package statedir

import "os"

// lockShared returns nil: only systemd cleans /tmp in that way.
func lockShared(string) *os.File { return nil }
