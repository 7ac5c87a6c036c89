// Package origin keeps the arguments and the directory with which a daemon was started. A restart
// reads them from the running daemon.
//
// The daemon keeps them in a sealed memfd (memfd_create(2)). A memfd needs no file system and ends
// with the daemon. Only the user of the daemon and root can read it, by /proc/PID/fd. Root may
// start a program with these arguments even after the daemon has become another user. That user
// cannot change them. No process can change a sealed memfd, and the owner of a memfd is the user
// who made it.
//
// Only Linux has memfds. On other systems every function returns errors.ErrUnsupported.
package origin

import (
	"errors"
	"os"
)

// Origin contains the arguments and the directory with which a daemon was started.
type Origin struct {
	PIDFile string
	Dir     string   // working directory of the start; "": unknown
	Args    []string // without the name of the program
}

// ErrNone reports that the process keeps no origin. A daemon of an earlier version of this library
// keeps none.
var ErrNone = errors.New("the process keeps no arguments")

// Keep keeps the origin of this process until the file is closed.
func Keep(o Origin) (*os.File, error) { return keep(o) }

// Of returns the origin of the process with that PID. The process must hold that PID file. The
// error is [ErrNone] if the process keeps no origin that this user may trust. It wraps
// fs.ErrPermission if this user may not read the origin. After the call, the caller must check that
// the process has not ended.
func Of(pid int, pidFile string) (Origin, error) { return of(pid, pidFile) }

// Runs reports whether the process with that PID runs with these arguments (proc_pid_cmdline(5)).
// This is no proof, because a process can change the arguments that the kernel reports.
func Runs(pid int, args []string) bool { return runs(pid, args) }

// wire is the JSON form of an Origin. The texts are byte slices, which JSON encodes as base64,
// because they might not be UTF-8.
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
