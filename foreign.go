package lifecycle

import (
	"fmt"
	"os"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/filelock"
	"example.com/lifecycle/internal/pin"
)

// foreign is errForeign, and names who holds the file where the system tells: whoever can read it may be that, and somebody has to end him.
func foreign(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return errForeign
	}
	p, err := pin.Open(filelock.Taker(info))
	if err != nil {
		return errForeign
	}
	defer p.Close()
	if has, err := p.HasOpen(info); err == nil && !has {
		return errForeign // he has left the lock to another
	}
	who := fmt.Sprintf("pid %d", p.PID())
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID())); err == nil {
		who += ", " + console.SanitizeInline(string(name))
	}
	return fmt.Errorf("%w (%s)", errForeign, who)
}
