package lifecycle

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"example.com/lifecycle/internal/safefile"
	"example.com/lifecycle/internal/worker"
)

// Program has the life of another program looked after instead of fn: any that stays in the foreground, whether it knows of this library or not. argv is its
// name, which is looked for in PATH, and its arguments. Root takes nothing from PATH that others can replace, and needs the path then. It is supervised under run too; see [Supervise], of which the zero policy is the default here.
//
// It is ready when it says so, if it speaks sd_notify(3), else when it has lived for Settle. HUP, USR1 and what [OnSignal] names go on to it where it catches
// them; those that would end it do not, and are an error of the reload. It is killed when its parent is. Its output goes where that of the
// parent goes, so logrotate(8) needs copytruncate for it, unless it reopens its log by USR1. It is started in the directory of the start, unless WorkDir says
// otherwise. By default, fn is what lives.
func Program(argv ...string) Option {
	return option(func(c *config) {
		if len(argv) == 0 || argv[0] == "" {
			c.refuse("Program: needs the name of a program")
			return
		}
		c.program = slices.Clone(argv)
		c.processOnly("Program", true)
	})
}

func (c *config) completeSupervise() {
	if c.program == nil {
		return
	}
	if c.policy == nil {
		policy := RestartPolicy{}.completed()
		c.policy = &policy
	}
	for option, given := range map[string]bool{
		"a function to run": c.fn != nil, "hooks": len(c.hooks) > 0, "ReadyWhen": c.readyWhen != nil,
		"Every": len(c.every) > 0, "Watchdog": c.watchdog.check != nil,
	} {
		if given {
			c.refuse("Program(%q): %s cannot be given beside it, for nothing of this program runs then", c.program[0], option)
		}
	}
	if strings.ContainsRune(c.program[0], filepath.Separator) {
		path, err := filepath.Abs(c.program[0])
		if err != nil {
			c.refuse("Program(%q): %v", c.program[0], err)
		}
		c.program[0] = path
	}
}

// findProgram finds the program that is supervised, "" if it is this one.
func (c *config) findProgram() (path string, err error) {
	switch {
	case c.program == nil:
		return "", nil
	case c.chroot != "": // it is inside of that
		return c.program[0], nil
	}
	if path, err = exec.LookPath(c.program[0]); err != nil {
		cause := err
		if failed := new(exec.Error); errors.As(err, &failed) {
			cause = safefile.Cause(c.program[0], failed.Err)
		}
		return "", fmt.Errorf("lifecycle: program %s: %w", c.program[0], cause)
	}
	if filepath.Base(c.program[0]) == c.program[0] && os.Geteuid() == 0 {
		if err := safefile.GuardedProgram(path); err != nil {
			return "", fmt.Errorf("lifecycle: program %s: root executes nothing that PATH leads to and others can replace: %w; "+
				"give its path, if it is meant", c.program[0], err)
		}
	}
	return path, nil
}

// programDir is the working directory of a program, as it is seen from its root directory; "" is that.
func (s *supervisor) programDir() string {
	if s.of.chroot == "" {
		return cmp.Or(s.of.workDir, s.dir)
	}
	if seen := s.life.pathsFrom(s.of.chroot).workDir; seen != "" {
		return filepath.Dir(seen)
	}
	return ""
}

// become is who a program becomes, once lookUpCredentials has found that out.
func (c *config) become() *worker.Credentials {
	if c.credentials == nil && c.chroot == "" {
		return nil
	}
	become := &worker.Credentials{Root: c.chroot, Env: c.credentials.environment(), Unset: c.foreignVariables()}
	if c.credentials != nil {
		become.Identity = &c.credentials.Identity
	}
	return become
}
