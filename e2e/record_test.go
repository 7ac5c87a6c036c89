package e2e

import (
	"time"

	"example.com/lifecycle"
)

// fullStatus returns a Status without zero fields. Each call returns a different Status.
func fullStatus() lifecycle.Status {
	at := func(second int) time.Time { return time.Date(2026, 2, 3, 4, 5, second, 678, time.UTC) }
	return lifecycle.Status{
		Format: 1, Name: "echod", Version: "1.2.3", PID: 4127,
		Phase: lifecycle.Reloading, Since: at(3), Started: at(1), Ready: at(2), Doing: "OnReload of http", Text: "serving 3 clients",
		Reloads: 7,
		LastReload: &lifecycle.Verdict{
			At: at(4), Began: 1111, Took: 2222, Component: "http", Hook: "OnReload", Error: "port 80: in use",
			TimedOut: true, Applied: []string{"log", "db"},
		},
		LastReopen: &lifecycle.Verdict{
			At: at(5), Began: 3333, Took: 4444, Component: "log", Hook: "OnReopen", Error: "disk full",
			TimedOut: true, Applied: []string{"a"},
		},
		Supervised: true, Worker: 4130, Restarts: 3,
		LastExit:    &lifecycle.Exit{At: at(6), PID: 4129, Code: -1, Signal: "SIGSEGV", Error: "panic: on purpose", Why: "no sign of life for 10s"},
		NextRestart: at(7), Attempt: 4, AttemptLimit: 10, GaveUp: "the worker ended 10 times in 60s",
		Left: "the worker (pid 4130) still runs after KILL", WorkerID: "1f0c/42/7",
		WorkerMark: "4130 0 pid:[1]/1f0c/42/1 1f0c/42/7", WorkerKnown: 6666,
		StopBy: 5555, PIDFileLost: true, LogFile: "/var/log/echod.log",
	}
}
