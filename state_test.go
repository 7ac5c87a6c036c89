package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/statefile"
)

// recordOf returns the record of a state file.
func recordOf(t *testing.T, s Status) []byte {
	t.Helper()
	s.Format = 1
	object, err := json.Marshal(s)
	require.NoError(t, err)
	record, err := statefile.Seal(object)
	require.NoError(t, err)
	return record
}

// writeState writes a state file as a daemon with that PID file would.
func writeState(t *testing.T, pidfile string, s Status) {
	t.Helper()
	require.NoError(t, os.WriteFile(statePath(pidfile), recordOf(t, s), 0o644))
}

func TestAReaderTriesOnlyForTheRetryTime(t *testing.T) {
	good := recordOf(t, Status{PID: 4127})
	for what, c := range map[string]struct {
		left []byte // nil: no file
		mode fs.FileMode
		why  string
		took time.Duration
	}{
		"no file":           {nil, 0, "open: no such file or directory", statefile.RetryTime},
		"empty":             {[]byte{}, 0o644, "the record is damaged", statefile.RetryTime},
		"torn":              {append(bytes.Clone(good[:statefile.Size-2]), "x\n"...), 0o644, "the record is damaged", statefile.RetryTime},
		"of another format": {sealed(`{"format":2`), 0o644, "the record has format 2, but this program reads format 1", statefile.RetryTime},
		"of another":        {recordOf(t, Status{PID: 4126}), 0o644, "the record belongs to pid 4126, not to pid 4127", statefile.RetryTime},
		"unsafe":            {good, 0o666, "all users can write it (mode 0666)", 0},
		"right":             {good, 0o644, "", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			pidfile := proctest.PIDPath(t)
			if c.left != nil {
				require.NoError(t, os.WriteFile(statePath(pidfile), c.left, 0o600))
				require.NoError(t, os.Chmod(statePath(pidfile), c.mode))
			}
			begun := time.Now()
			s, err := readState(pidfile, sees(4127))
			require.InDelta(t, c.took, time.Since(begun), float64(2*time.Millisecond), what)
			if c.why == "" {
				require.NoError(t, err)
				require.Equal(t, 4127, s.PID)
				return
			}
			require.EqualError(t, err, "lifecycle: state file "+statePath(pidfile)+": "+c.why)
			require.Zero(t, s)
		})
	}
}

// sees returns an inspection that finds pid in a PID file of this user.
func sees(pid int) func() (holder, error) {
	return func() (holder, error) {
		return holder{Held: true, Number: pid, Owner: os.Geteuid()}, nil
	}
}

func TestAReaderReturnsAsSoonAsItCan(t *testing.T) {
	good := recordOf(t, Status{PID: 4127})
	for what, before := range map[string][]byte{
		"no file":    nil,
		"torn":       make([]byte, statefile.Size),
		"of another": recordOf(t, Status{PID: 4126}),
	} {
		synctest.Test(t, func(t *testing.T) {
			pidfile := proctest.PIDPath(t)
			if before != nil {
				require.NoError(t, os.WriteFile(statePath(pidfile), before, 0o644))
			}
			begun := time.Now()
			time.AfterFunc(statefile.RetryTime/2, func() { os.WriteFile(statePath(pidfile), good, 0o644) })
			s, err := readState(pidfile, sees(4127))
			require.NoError(t, err, what)
			require.Equal(t, 4127, s.PID)
			require.InDelta(t, statefile.RetryTime/2, time.Since(begun), float64(2*time.Millisecond))
		})
	}
	synctest.Test(t, func(t *testing.T) {
		pidfile := proctest.PIDPath(t)
		looks, gone := 0, errors.New("gone")
		_, err := readState(pidfile, func() (holder, error) {
			if looks++; looks == 3 {
				return holder{}, gone
			}
			return sees(4127)()
		})
		require.Equal(t, gone, err, "no daemon holds the PID file any more")
		require.Equal(t, 3, looks)
	})
}

// fullStatus returns a Status without a zero field. Each call returns a new value.
func fullStatus() Status {
	at := func(second int) time.Time { return time.Date(2026, 2, 3, 4, 5, second, 678, time.UTC) }
	return Status{
		Format: 1, Name: "echod", Version: "1.2.3", PID: 4127,
		Phase: Reloading, Since: at(3), Started: at(1), Ready: at(2), Doing: "OnReload of http", Text: "serving 3 clients",
		Reloads: 7,
		LastReload: &Verdict{
			At: at(4), Began: 1111, Took: 2222, Component: "http", Hook: "OnReload", Error: "port 80: in use",
			TimedOut: true, Applied: []string{"log", "db"}, Ended: true, Note: "SIGHUP sent",
		},
		LastReopen: &Verdict{
			At: at(5), Began: 3333, Took: 4444, Component: "log", Hook: "OnReopen", Error: "disk full",
			TimedOut: true, Applied: []string{"a"}, Ended: true, Note: "SIGUSR1 sent",
		},
		Supervised: true, Worker: 4130, Restarts: 3,
		LastExit:    &Exit{At: at(6), PID: 4129, Code: -1, Signal: "SIGSEGV", Error: "panic: on purpose", Why: "no sign of life for 10s"},
		NextRestart: at(7), Attempt: 4, AttemptLimit: 10, GaveUp: "the worker ended 10 times in 60s",
		Left: "the worker (pid 4130) still runs after KILL", WorkerID: "1f0c/42/7",
		WorkerMark: "4130 0 pid:[1]/1f0c/42/1 1f0c/42/7", WorkerKnown: 6666, WorkerImage: "93ab",
		WorkerVersion: "1.2.4", Upgradable: true, Upgrading: 4131, Upgrades: 6,
		LastUpgrade: &Upgrade{
			Verdict: Verdict{
				At: at(9), Began: 7777, Took: 8888, Component: "http", Hook: "OnStart", Error: "port 80: in use", TimedOut: true,
				Applied: []string{"a"}, Ended: true, Note: "cannot execute it",
			},
			OldWorker: 4120, NewWorker: 4130, OldVersion: "1.2.3", NewVersion: "1.2.4",
		},
		Draining:     []Draining{{PID: 4120, Version: "1.2.3", Until: at(10), Text: "2 requests in progress"}},
		OtherWorkers: []OtherWorker{{PID: 4120, Mark: "4120 0 pid:[1]/1f0c/42/1 1f0c/42/6", Known: 9999, Image: "93ac"}},
		Failed: &Failure{
			At: at(8), Code: 9, Component: "cache", Hook: "OnStop", Error: "cannot flush",
			TimedOut: true, Panicked: true, Also: []string{"OnExit of db failed: cannot close"},
		},
		StopBy: 5555, PIDFileLost: true, LogFile: "/var/log/echod.log",
		KeptBy: "manager", Manager: "systemd", Unit: "echod.service",
	}
}

// fullRecord is the record of fullStatus in the file, without the checksum. Other programs read
// such records, so a change may add fields but must not change the others.
const fullRecord = `{
	"format": 1, "name": "echod", "version": "1.2.3", "pid": 4127,
	"phase": "reloading", "since": "2026-02-03T04:05:03.000000678Z", "started": "2026-02-03T04:05:01.000000678Z",
	"ready": "2026-02-03T04:05:02.000000678Z", "doing": "OnReload of http", "text": "serving 3 clients",
	"reloads": 7,
	"last_reload": {
		"at": "2026-02-03T04:05:04.000000678Z", "began_monotonic_ns": 1111, "took_ns": 2222, "component": "http", "hook": "OnReload",
		"error": "port 80: in use", "timed_out": true, "applied": ["log", "db"], "ended": true, "note": "SIGHUP sent"
	},
	"last_reopen": {
		"at": "2026-02-03T04:05:05.000000678Z", "began_monotonic_ns": 3333, "took_ns": 4444, "component": "log", "hook": "OnReopen",
		"error": "disk full", "timed_out": true, "applied": ["a"], "ended": true, "note": "SIGUSR1 sent"
	},
	"supervised": true, "worker": 4130, "restarts": 3,
	"last_exit": {
		"at": "2026-02-03T04:05:06.000000678Z", "pid": 4129, "code": -1, "signal": "SIGSEGV", "error": "panic: on purpose", "why": "no sign of life for 10s"
	},
	"next_restart": "2026-02-03T04:05:07.000000678Z", "attempt": 4, "attempt_limit": 10, "gave_up": "the worker ended 10 times in 60s",
	"left": "the worker (pid 4130) still runs after KILL", "worker_id": "1f0c/42/7",
	"worker_mark": "4130 0 pid:[1]/1f0c/42/1 1f0c/42/7", "worker_known_boottime_ns": 6666, "worker_image": "93ab",
	"worker_version": "1.2.4", "upgradable": true, "upgrading": 4131, "upgrades": 6,
	"last_upgrade": {
		"at": "2026-02-03T04:05:09.000000678Z", "began_monotonic_ns": 7777, "took_ns": 8888, "component": "http", "hook": "OnStart",
		"error": "port 80: in use", "timed_out": true, "applied": ["a"], "ended": true, "note": "cannot execute it",
		"old_worker": 4120, "new_worker": 4130, "old_version": "1.2.3", "new_version": "1.2.4"
	},
	"other_workers": [{"pid": 4120, "mark": "4120 0 pid:[1]/1f0c/42/1 1f0c/42/6", "known_boottime_ns": 9999, "image": "93ac"}],
	"draining": [{"pid": 4120, "version": "1.2.3", "until": "2026-02-03T04:05:10.000000678Z", "text": "2 requests in progress"}],
	"failed": {
		"at": "2026-02-03T04:05:08.000000678Z", "code": 9, "component": "cache", "hook": "OnStop", "error": "cannot flush",
		"timed_out": true, "panicked": true, "also": ["OnExit of db failed: cannot close"]
	},
	"stop_by_monotonic_ns": 5555, "pid_file_lost": true, "kept_by": "manager", "manager": "systemd", "unit": "echod.service", "log_file": "/var/log/echod.log"
}`

func TestDecodingARecordReturnsTheSameStatus(t *testing.T) {
	noFieldIsZero(t, reflect.ValueOf(fullStatus()))
	require.Equal(t, fullStatus(), recoded(t, fullStatus()))
	require.Equal(t, Status{Format: 1}, recoded(t, Status{}))
	for p := Starting; p <= Exited; p++ {
		require.Equal(t, Status{Format: 1, Phase: p}, recoded(t, Status{Phase: p}))
	}

	now := time.Now()
	local := recoded(t, Status{Since: now}).Since
	require.True(t, local.Equal(now), "to the nanosecond, in any time zone")
}

func noFieldIsZero(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		require.False(t, v.Field(i).IsZero(), "fullStatus has no %s", v.Type().Field(i).Name)
		if v.Field(i).Kind() == reflect.Pointer {
			noFieldIsZero(t, v.Field(i).Elem())
		}
	}
}

func TestTheFileIsOneJSONObjectWithTheFieldsThatAreDocumented(t *testing.T) {
	fields := func(s Status) (all map[string]any) {
		require.NoError(t, json.Unmarshal(mustEncode(t, s), &all))
		require.Regexp(t, `^[0-9a-f]{16}$`, all["sum"])
		return all
	}
	full := fields(fullStatus())
	delete(full, "sum")
	text, err := json.Marshal(full)
	require.NoError(t, err)
	require.JSONEq(t, fullRecord, string(text))

	require.ElementsMatch(t, slices.Collect(maps.Keys(fields(Status{}))),
		[]string{"format", "name", "pid", "phase", "since", "started", "reloads", "sum"}, "a field that does not apply is left out")
	fine := fields(Status{LastReload: &Verdict{}})["last_reload"].(map[string]any)
	require.ElementsMatch(t, slices.Collect(maps.Keys(fine)), []string{"at", "began_monotonic_ns", "took_ns"})
}

// Row H10.
func TestEveryTimeOfARecordIsAlsoOnTheBootClock(t *testing.T) {
	s := fullStatus()
	var count func(v reflect.Value) int
	count = func(v reflect.Value) (n int) {
		switch {
		case v.Type() == reflect.TypeFor[time.Time]():
			return 1
		case v.Kind() == reflect.Pointer:
			return count(v.Elem())
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				n += count(v.Field(i))
			}
		case v.Kind() == reflect.Slice:
			for i := range v.Len() {
				n += count(v.Index(i))
			}
		}
		return n
	}
	require.Len(t, s.times(), count(reflect.ValueOf(s)))
}
