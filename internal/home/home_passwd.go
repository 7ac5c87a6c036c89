//go:build !darwin

package home

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// getent knows what the name service switch knows (nsswitch.conf(5)).
const getent = "/usr/bin/getent"

// patience is how long a directory service may take to answer.
const patience = 2 * time.Second

// of asks /etc/passwd, and getent(1) for a user who is not there. It is tempting to take os/user: but that makes a program with cgo a dynamic one,
// each start of which takes as long again, and one without takes $HOME for the answer.
func of(uid int) (string, error) {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return "", err
	}
	defer f.Close()
	dir, err := find(f, uid)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		out, getentErr := exec.CommandContext(ctx, getent, "passwd", strconv.Itoa(uid)).Output()
		if getentErr == nil {
			return find(strings.NewReader(string(out)), uid)
		}
		if !errors.Is(getentErr, fs.ErrNotExist) && !errors.As(getentErr, new(*exec.ExitError)) {
			err = errors.Join(err, getentErr)
		}
	}
	return dir, err
}

// find looks for the user in lines of passwd(5): name:password:UID:GID:GECOS:directory:shell.
func find(passwd io.Reader, uid int) (string, error) {
	lines := bufio.NewScanner(passwd)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) >= 7 && fields[2] == strconv.Itoa(uid) {
			return fields[5], nil
		}
	}
	return "", errors.Join(lines.Err(), errors.New("no such user: "+strconv.Itoa(uid)))
}
