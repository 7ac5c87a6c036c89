package statedir

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// held is package state because a process is at most one daemon.
var held struct {
	mu  sync.Mutex
	dir *os.File
}

// Hold keeps systemd-tmpfiles(8) from removing files of this process in dir. It does nothing unless
// [Of] may have returned dir for a user without a home directory. systemd-tmpfiles removes all
// files in /tmp that have not changed for days, but skips a directory that has a BSD lock
// (tmpfiles.d(5), "Age").
func Hold(dir string) {
	uid := os.Geteuid()
	if uid <= 0 || filepath.Dir(dir) != "/tmp" || !strings.HasSuffix(dir, "-"+strconv.Itoa(uid)) {
		return
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	if held.dir == nil {
		held.dir = lockShared(dir)
	}
}

// Release undoes Hold.
func Release() {
	held.mu.Lock()
	defer held.mu.Unlock()
	if held.dir != nil {
		_ = held.dir.Close()
		held.dir = nil
	}
}
