package lifecycle

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/lifecycle/internal/handshake"
)

// limits are how long this life takes at most, by its own options.
func (c *config) limits() handshake.Limits {
	if c.longest != nil {
		return *c.longest
	}
	return handshake.Limits{Start: c.startTimeout + grace(c.startTimeout), Stop: c.wholeStop()}
}

// startError makes what the handshake returned an error of this package.
func startError(err error) error {
	switch e := err.(type) {
	case *handshake.KilledError:
		return &handshake.KilledError{Err: startError(e.Err)}
	case *handshake.TimeoutError:
		return &timeoutError{is: ErrStartTimeout, text: "lifecycle: " + e.Error()}
	}
	return addPrefix(err)
}

// addPrefix gives an error our name, if it does not have it.
func addPrefix(err error) error {
	if strings.HasPrefix(err.Error(), "lifecycle: ") {
		return err
	}
	return fmt.Errorf("lifecycle: %w", err)
}

var errLauncherGone = stopCause("lifecycle: the launcher is gone, so nobody waits for this start")

// attach tells the launcher that the life has begun. The life stops when the launcher goes before it knows that the life
// is ready.
func (l *life) attach() error {
	if l.launcher == nil {
		return nil
	}
	if l.pidFile != l.launcher.PIDFile {
		return fmt.Errorf("lifecycle: the launcher has locked the PID file %q, but this process is to have %q: both must be told the same",
			l.launcher.PIDFile, l.pidFile)
	}
	return l.launcher.Attach(l.limits(), func() { l.on(stopRequest, errLauncherGone, nil) })
}

// readySettleDelay lets a body that fails at once do so before ready is reported. It is a tenth of a start, but without
// it some starts on a busy machine report ready for a daemon that ends.
const readySettleDelay = time.Millisecond

// confirmReady tells the launcher that the life is ready and reports whether the launcher has confirmed it. Until then
// the start may still be undone, so the life is not Ready.
func (l *life) confirmReady() bool {
	if l.launcher == nil && !l.firstWorker {
		return true
	}
	l.sleep(readySettleDelay)
	if l.launcher == nil {
		return l.stopCtx.Err() == nil
	}
	confirmed, err := l.launcher.ConfirmReady(l.stopCtx.Done())
	if errors.Is(err, handshake.ErrSilent) {
		l.on(stopRequest, errLauncherGone, nil)
	}
	return confirmed && l.stopCtx.Err() == nil
}

// finishStart ends the handshake of a life that is ready.
func (l *life) finishStart() {
	if l.launcher != nil {
		l.launcher.Finish()
	}
}
