//go:build !((cgo || darwin) && !osusergo && unix && !android)

package home

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"
)

// of does without user.LookupId, which in such a build takes $HOME for the answer where /etc/passwd has none.
func of(uid int) (string, error) {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":") // passwd(5): name:password:UID:GID:GECOS:directory:shell
		if len(fields) >= 7 && fields[2] == strconv.Itoa(uid) {
			return fields[5], nil
		}
	}
	return "", errors.Join(lines.Err(), errors.New("no such user in /etc/passwd: "+strconv.Itoa(uid)))
}
