// Package worker starts the process that a supervisor looks after, and tells that process so.
//
//	supervisor ── fork, exec of this program ──► an own worker
//	     ▲                                           │
//	     └────────── the lifeline, a socket ◄────────┘
//
// A foreign program is executed by a stage of this program, in the init of this package, without another fork: so both have the PID that was started.
package worker

import (
	"encoding/json"
	"os"
	"time"

	"example.com/lifecycle/internal/privilege"
)

// Socket is an open socket that outlives workers.
type Socket struct {
	Name string
	File *os.File
}

// Order says what is to be started.
type Order struct {
	Args     []string      // with the name of the program first
	Program  string        // the path of a foreign program, which is executed with Args; "": this very program again
	Note     any           // what an own worker is told, as JSON
	Notify   string        // NOTIFY_SOCKET (sd_notify(3)); "": none
	Store    int           // FDSTORE: how many sockets are kept; 0: none
	Watchdog time.Duration // WATCHDOG_USEC (sd_watchdog_enabled(3)); 0: none
	Sockets  []Socket      // LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)); they stay open here
	Dir      string        // working directory; "": that of this process
	Become   *Role         // foreign only: who it becomes, and its root directory; nil: as this process
	Umask    int           // foreign only: the file mode creation mask; -1: that of this process
}

// Role is who a foreign program becomes.
type Role struct {
	Identity *privilege.Identity // nil: as this process
	Root     string              // root directory; "": that of this process. Program is looked for inside, and Dir too
	Env      []string            // instead of what the environment has: HOME=…, USER=…, LOGNAME=…
}

// Start starts the process. It blocks until an own worker could be executed, or a foreign program was: what keeps that from being executed is the error,
// and then there is no process. An own worker reads its note whenever it comes to that.
func Start(o Order) (*Process, error) { return start(o) }

// Inheritance is what an own worker was given.
type Inheritance struct {
	Note json.RawMessage

	lifeline lifeline
}

// inherited is package state because it is settled before main: what was given to the process, which is one.
var inherited *Inheritance

// Inherited returns what this process was given if it is an own worker, else nil.
func Inherited() *Inheritance { return inherited }
