//go:build !darwin

package userdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// getent queries the name service switch (nsswitch.conf(5)).
const getent = "/usr/bin/getent"

const (
	// patience is how long a directory service may take to answer.
	patience = 2 * time.Second
	// pauseAfterFailure is how long ask returns the last failure again. A process that asks several
	// times then waits only once.
	pauseAfterFailure = 10 * time.Second

	keyNotFound     = 2 // exit status: "one or more supplied key could not be found" (getent(1))
	unknownDatabase = 1 // exit status, such as for initgroups without glibc
)

// errNoDatabase reports that getent does not know the database, or that the system has no getent.
var errNoDatabase = errors.New("this system does not have that database")

// answers contains the answers of getent. It is package state because the whole process must use
// the same answer, and because each question can take 2 s.
var answers = struct {
	sync.Mutex
	to map[string]answer
}{to: map[string]answer{}}

type answer struct {
	text string
	err  error
	at   time.Time
}

// ask returns the answer of getent. It returns ErrUnknown if there is no such entry, and
// errNoDatabase if getent cannot answer on this system. Any other error means that getent did not
// answer.
func ask(database, key string) (string, error) {
	if strings.HasPrefix(key, "-") { // getent would parse it as an option
		return "", ErrUnknown
	}
	answers.Lock()
	defer answers.Unlock()
	question := database + "\x00" + key
	a, asked := answers.to[question]
	failed := a.err != nil && !errors.Is(a.err, ErrUnknown) && !errors.Is(a.err, errNoDatabase)
	if !asked || failed && time.Since(a.at) > pauseAfterFailure {
		a.text, a.err = run(database, key)
		a.at = time.Now()
		answers.to[question] = a
	}
	return a.text, a.err
}

func run(database, key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, getent, database, key)
	cmd.WaitDelay = patience / 10 // a child of getent may hold the pipe
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s did not answer in %v", getent, patience)
	case errors.Is(err, fs.ErrNotExist):
		return "", errNoDatabase
	case errors.As(err, &exit) && exit.ExitCode() == keyNotFound, err == nil && strings.TrimSpace(string(out)) == "":
		return "", ErrUnknown
	case errors.As(err, &exit) && exit.ExitCode() == unknownDatabase:
		return "", fmt.Errorf("%w: %s", errNoDatabase, strings.TrimSpace(string(exit.Stderr)))
	case err != nil:
		return "", fmt.Errorf("%s: %w", getent, err)
	}
	return string(out), nil
}
