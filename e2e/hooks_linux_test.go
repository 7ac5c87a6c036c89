package e2e

import (
	"log"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/detach"
)

func init() { maps.Copy(misdeeds, processFaults) }

// processFaults lists harmful changes that a hook makes to its own process.
var processFaults = map[string]func(){
	"fatal": func() { log.Fatal("fatal on purpose") },
	"crash": func() {
		go panic("an own goroutine panics on purpose")
		select {}
	},
	"locked":      func() { runtime.LockOSThread(); runtime.Goexit() },
	"chdir":       func() { _ = os.Chdir("/proc") },
	"umask":       func() { syscall.Umask(0o777) },
	"reset":       func() { signal.Reset() },
	"ignore":      func() { signal.Ignore(syscall.SIGTERM, syscall.SIGHUP) },
	"closestdout": func() { _ = syscall.Close(1) },
	"closestderr": func() { _ = syscall.Close(2) },
	"closestdio": func() {
		for fd := range 3 {
			_ = syscall.Close(fd)
		}
	},
	"closeall": func() { // the Go runtime soon crashes without its poller
		for fd := range 10 {
			_ = syscall.Close(fd)
		}
	},
	"closelock":  func() { eachOwnDescriptor(".pid", func(fd int) { _ = syscall.Close(fd) }) },
	"closestate": func() { eachOwnDescriptor(".state", func(fd int) { _ = syscall.Close(fd) }) },
	"reuse": func() { // as if it had closed them and then opened other files
		for _, name := range []string{".pid", ".state"} {
			eachOwnDescriptor(name, func(fd int) {
				f, err := os.OpenFile(treasure(strings.TrimSuffix(ownDescriptor(fd), name)+".pid"), os.O_RDWR, 0)
				if err != nil || detach.Redirect(f, fd) != nil {
					panic("no treasure")
				}
			})
		}
	},
}

// treasure returns the path of a file beside the directory of the PID file. No test may change the
// file.
func treasure(pidfile string) string { return filepath.Dir(pidfile) + ".treasure" }

func ownDescriptor(fd int) (target string) {
	target, _ = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	return target
}

func eachOwnDescriptor(suffix string, do func(fd int)) {
	for fd := range 100 {
		if strings.HasSuffix(ownDescriptor(fd), suffix) {
			do(fd)
		}
	}
}

// faultyEnds maps the misdeeds that end the process to how it ends.
var faultyEnds = map[string]string{"exit:37": "exit 37", "fatal": "exit 1", "crash": "exit 2"}

// someEnds returns the faulty ends that a test tries with the hook of that number: all of them in
// CI, and one in "go test".
func someEnds(hook int) (faults []string) {
	all := slices.Sorted(maps.Keys(faultyEnds))
	for n := range proctest.Rounds(1, len(all), len(all)) {
		faults = append(faults, all[(hook+n)%len(all)])
	}
	return faults
}

// hooksOfAStart maps the hooks that a start of the program daemon calls to arguments that delay
// ready until the hook has ended.
var hooksOfAStart = map[string][]string{
	"start": nil, "ready": nil, "run": {"ready=error"}, "stop": {"ready=panic"}, "exit": {"ready=panic"},
}
