package lifecycle

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/proctest"
)

// guard keeps another program alive:
//
//	guard [key=value …] verb [-- program arguments]
//
// The keys are pidfile, log, supervise, starttimeout, stoptimeout, workdir, user and chroot.
var guard = proctest.Register("guard", func(args []string) int {
	var argv []string
	if at := slices.Index(args, "--"); at >= 0 {
		args, argv = args[:at], args[at+1:]
	}
	does := map[string]string{}
	for len(args) > 0 && strings.Contains(args[0], "=") {
		key, value, _ := strings.Cut(args[0], "=")
		does[key], args = value, args[1:]
	}
	opts := []Option{
		Name("guard"), PIDFile(does["pidfile"]), LogFile(does["log"]), WorkDir(does["workdir"]), User(does["user"]), Chroot(does["chroot"]),
		Supervise(parsePolicy(does["supervise"])), OnSignal(syscall.SIGUSR2, func(ctx context.Context) error { return nil }),
	}
	for key, option := range map[string]func(time.Duration) Option{"starttimeout": StartTimeout, "stoptimeout": StopTimeout} {
		if d, err := time.ParseDuration(does[key]); err == nil {
			opts = append(opts, option(d))
		}
	}
	if argv != nil {
		opts = append(opts, Program(argv...))
	}
	return Main(args, nil, opts...)
})
