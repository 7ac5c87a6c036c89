package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle"
)

// parsePolicy reads a policy:
// always,foreground,min:10ms,max:1s,reset:1s,limit:3,window:1m,settle:1s,permanent:3.
func parsePolicy(text string) (p lifecycle.RestartPolicy) {
	for _, field := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(field, ":")
		d, _ := time.ParseDuration(value)
		var n int
		fmt.Sscan(value, &n)
		switch key {
		case "always":
			p.Always = true
		case "foreground":
			p.Foreground = true
		case "min":
			p.MinDelay = d
		case "max":
			p.MaxDelay = d
		case "reset":
			p.Reset = d
		case "limit":
			p.Limit = n
		case "window":
			p.Window = d
		case "settle":
			p.Settle = d
		case "permanent":
			p.Permanent = append(p.Permanent, n)
		case "clean":
			p.Clean = append(p.Clean, n)
		case "notify":
			p.Notify = true
		case "keep":
			p.KeepOrphans = true
		case "stopsignal":
			p.StopSignal = syscall.Signal(n)
		case "reloadsignal":
			p.ReloadSignal = syscall.Signal(n)
		case "reopensignal":
			p.ReopenSignal = syscall.Signal(n)
		}
	}
	return p
}
