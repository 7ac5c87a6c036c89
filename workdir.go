package lifecycle

import (
	"fmt"
	"os"

	"example.com/lifecycle/internal/sys/detach"
	"example.com/lifecycle/internal/sys/origin"
	"example.com/lifecycle/internal/sys/startup"
)

// WorkDir sets the working directory. Run changes to it before the first hook, so main still runs
// in the working directory of the start. A relative path is relative to that directory, whatever
// os.Chdir did since. By default, a detached process changes to "/", and any other process stays
// where it is.
func WorkDir(path string) Option {
	return option(func(c *plan) {
		c.workDir = path
		c.processOnly("WorkDir", true)
	})
}

// Umask sets the file mode creation mask; see umask(2). A mask of 0 is valid. By default, a
// detached process has 0o022, and any other process keeps its mask.
func Umask(mask int) Option {
	return option(func(c *plan) {
		if mask < 0 || mask > 0o777 {
			c.refuse("Umask(%#o): must be from 0 to 0o777", mask)
		}
		c.umask = mask
		c.processOnly("Umask", true)
	})
}

func (p *plan) completeWorkDir() {
	if p.workDir == "" {
		return
	}
	abs, err := startup.Abs(p.workDir)
	if err != nil {
		p.refuse("WorkDir(%q): %v", p.workDir, err)
	}
	p.workDir = abs
}

func (p *plan) completeChroot() {
	if p.chroot == "" {
		return
	}
	abs, err := startup.Abs(p.chroot)
	if err != nil {
		p.refuse("Chroot(%q): %v", p.chroot, err)
	}
	p.chroot = abs
}

// applyWorkDir sets the umask and the working directory of the process.
func (p *plan) applyWorkDir(background bool) error {
	dir, umask := p.workDir, p.umask
	if background {
		if dir == "" {
			dir = "/"
		}
		if umask < 0 {
			umask = 0o022
		}
	}
	if umask >= 0 {
		detach.Umask(umask)
	}
	if dir == "" {
		return nil
	}
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("lifecycle: working directory: %w", err)
	}
	return nil
}

// keepOrigin keeps the arguments and the directory of a detached daemon for a restart, until
// release is called.
func (p *plan) keepOrigin(m mode) (release func()) {
	if !m.background || !m.locks() || p.pidFile == "" {
		return func() {}
	}
	kept, err := origin.Keep(origin.Origin{PIDFile: p.pidFile, Dir: startup.Dir(), Args: startup.Args()[1:]})
	if err != nil {
		p.logger.Debug("cannot keep the arguments, so the verb restart uses its own", "err", err)
		return func() {}
	}
	return func() { kept.Close() }
}
