// Package origin keeps what a daemon was started with: its arguments and its directory. A restart
// reads it from the running daemon.
//
// The daemon keeps it in a sealed memfd (memfd_create(2)), so it takes no space in a file system
// and ends with the daemon. Only the user of the daemon and root can read it, by /proc/PID/fd. Root
// may start a program with these arguments, and the daemon may have become another user meanwhile.
// That user cannot change them: no process can change a sealed memfd, and its owner is the user who
// made it.
//
// Only Linux has it. On other systems every function returns errors.ErrUnsupported.
package origin

import (
	"errors"
	"os"
)

// Origin is what a daemon was started with.
type Origin struct {
	PIDFile string
	Dir     string   // working directory of the start; "": unknown
	Args    []string // without the name of the program
}

// ErrNone reports that the process keeps no origin, such as a daemon of an earlier version.
var ErrNone = errors.New("the process keeps no arguments")

// Keep keeps the origin of this process until the file is closed.
func Keep(o Origin) (*os.File, error) { return keep(o) }

// Of returns the origin of the process with that PID that holds that PID file. It returns [ErrNone]
// if the process keeps none that this user may trust, and an error that wraps fs.ErrPermission if
// this user may not read it. The caller must make sure that the process has not ended meanwhile.
func Of(pid int, pidFile string) (Origin, error) { return of(pid, pidFile) }

// Runs reports whether the process with that PID runs with these arguments (proc_pid_cmdline(5)). A
// process can change what it shows, so this is no proof.
func Runs(pid int, args []string) bool { return runs(pid, args) }

// wire is an Origin as JSON. JSON has no bytes that are not UTF-8, but base64 has.
type wire struct {
	PIDFile, Dir []byte
	Args         [][]byte
}

func (o Origin) wire() wire {
	w := wire{PIDFile: []byte(o.PIDFile), Dir: []byte(o.Dir)}
	for _, arg := range o.Args {
		w.Args = append(w.Args, []byte(arg))
	}
	return w
}

func (w wire) origin() Origin {
	o := Origin{PIDFile: string(w.PIDFile), Dir: string(w.Dir)}
	for _, arg := range w.Args {
		o.Args = append(o.Args, string(arg))
	}
	return o
}
