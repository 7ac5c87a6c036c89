package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/ossignal"
)

// errNotSupervised reports that a daemon cannot be upgraded, because nothing outlives its process.
var errNotSupervised = errors.New("it is not supervised")

// Upgrade asks a supervised daemon to replace its program by the one on disk, with USR2, and blocks
// until it has the verdict of an upgrade that began after the signal. It returns nil if a worker of
// the new program has replaced the old one, which finishes its work in progress beside it. The
// error wraps [ErrUpgrade] if the upgrade was refused; the old program then serves as before. It
// also wraps ErrUpgrade if the daemon is stopping, or has ended before the verdict. The error wraps
// errors.ErrUnsupported if the daemon has no supervisor that can be upgraded, and [ErrNotRunning]
// if the daemon is gone. If ctx ends first, the error wraps the cause of ctx, and the upgrade goes
// on.
func (p *Process) Upgrade(ctx context.Context) error {
	_, _, err := p.upgrade(ctx)
	return err
}

// upgrade also returns the result of the upgrade, and the state of the daemon after it.
func (p *Process) upgrade(ctx context.Context) (u Upgrade, after Status, err error) {
	err = p.follow(ctx, "its state", func(s Status) (enough bool, err error) { after = s; return true, nil })
	switch {
	case err != nil:
		return u, after, err
	case after.Phase >= Stopping:
		return u, after, stopsInsteadOfUpgrade()
	case !after.Upgradable:
		return u, after, after.notUpgradable()
	}
	if err := p.waitsForItself(ctx); err != nil {
		return u, after, err
	}
	asked, again := monotonic.Now(), p.sendAgain(after, ossignal.User2)
	if err := p.Signal(ossignal.User2); err != nil {
		return u, after, err
	}
	err = p.follow(ctx, "the verdict of its upgrade", func(s Status) (enough bool, err error) {
		after = s
		switch {
		case s.Phase >= Stopping && (s.LastUpgrade == nil || s.LastUpgrade.Began < asked || s.LastUpgrade.Error != ""):
			return true, stopsInsteadOfUpgrade()
		case s.LastUpgrade != nil && s.LastUpgrade.Began >= asked:
			u = *s.LastUpgrade
			return true, u.Err()
		}
		err = again(s)
		return err != nil, err
	})
	if errors.Is(err, ErrNotRunning) {
		err = &upgradeError{cause: err}
	}
	return u, after, err
}

// sendAgain returns a function that sends the signal again if the daemon has executed another
// program since before. A signal that arrives at that moment may be lost. If it is not, the daemon
// handles it twice. The function must be called with each status that is read after the signal.
func (p *Process) sendAgain(before Status, sig os.Signal) (see func(Status) error) {
	upgrades := before.Upgrades
	return func(s Status) error {
		if s.Upgrades == upgrades {
			return nil
		}
		upgrades = s.Upgrades
		if u := s.LastUpgrade; u == nil || u.Error != "" || u.Note != "" {
			return nil
		}
		return p.Signal(sig)
	}
}

// stopsInsteadOfUpgrade returns the error of an upgrade that did not begin because of a stop.
func stopsInsteadOfUpgrade() error {
	return &upgradeError{cause: errors.New("lifecycle: not upgraded: the daemon is stopping")}
}

// notUpgradable returns why the daemon cannot be upgraded.
func (s Status) notUpgradable() error {
	if s.Supervised {
		return fmt.Errorf("lifecycle: pid %d forwards USR2 to the program that it supervises, or uses an earlier release of this library: %w",
			s.PID, errors.ErrUnsupported)
	}
	return fmt.Errorf("lifecycle: pid %d: %w: %w", s.PID, errNotSupervised, errors.ErrUnsupported)
}

// upgradeLimit returns how long the verb waits for the verdict. The limit includes an upgrade that
// is already in progress, because that one is finished first.
func (p *plan) upgradeLimit() time.Duration {
	start := p.limits().Start + 2*supervise.WorkerMargin + supervise.FreezeLimit
	limit := start
	if p.noOverlap { // the old worker ends first, and the old program may be started again
		limit += p.wholeStop() + 2*supervise.OrphansMargin + start
	}
	return 2*limit + time.Second
}

func (p program) upgradeVerb(flags) (exitCode int) {
	if ossignal.User2 == nil {
		p.say("upgrade: %v on this system", errors.ErrUnsupported)
		return 3
	}
	daemon, err := p.life.plan.find()
	if err != nil {
		return p.fail("upgrade", err)
	}
	defer daemon.Close()
	limit := p.life.plan.upgradeLimit()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var u Upgrade
	var after Status
	stop := p.showUpgrade(daemon)
	u, after, err = daemon.upgrade(ctx)
	stop()
	var waited *waitError
	switch {
	case err == nil:
		p.sayUpgraded(u, after)
		return 0
	case errors.Is(err, errNotSupervised):
		p.say("upgrade: pid %d has no supervisor: use `%s restart`", daemon.PID, p.life.plan.name)
		return 3
	case errors.Is(err, errors.ErrUnsupported):
		p.say("upgrade: %s: use `%s restart`", console.SanitizeInline(p.text(err)), p.life.plan.name)
		return 3
	case errors.Is(err, ErrNotRunning) && errors.As(err, &waited):
		p.say("upgrade: no verdict: pid %d ended during the upgrade", daemon.PID)
	case errors.Is(err, context.DeadlineExceeded) && errors.As(err, &waited):
		p.say("upgrade: no verdict after %s; see `%s status`", console.FormatLimit(limit), p.life.plan.name)
	case u.Ended:
		p.say("upgrade refused, and no worker serves: %s", p.text(err))
	case u.Error != "":
		p.say("upgrade refused, the old one serves: %s", p.text(err))
	default:
		return p.fail("upgrade", err)
	}
	return 1
}

// sayUpgraded prints the result of an upgrade, such as: upgraded (pid 4127, worker 4130 → 4190,
// 1.3.0 → 1.4.0, 41 ms), old one drains (2 requests in progress).
func (p program) sayUpgraded(u Upgrade, after Status) {
	what := fmt.Sprintf("pid %d, worker %d", after.PID, u.NewWorker)
	switch {
	case u.OldWorker == u.NewWorker: // of Program
		what = fmt.Sprintf("pid %d, program %d runs on", after.PID, u.NewWorker)
	case u.OldWorker != 0:
		what = fmt.Sprintf("pid %d, worker %d → %d", after.PID, u.OldWorker, u.NewWorker)
	}
	switch {
	case u.NewVersion == "":
	case u.NewVersion == u.OldVersion:
		what += ", version " + console.SanitizeInline(u.NewVersion)
	default:
		what += ", " + console.SanitizeInline(cmp.Or(u.OldVersion, "no version")+" → "+u.NewVersion)
	}
	text := fmt.Sprintf("upgraded (%s, %s)", what, console.FormatElapsed(u.Took))
	for _, d := range after.Draining {
		if d.PID == u.OldWorker {
			text += ", old one drains"
			if d.Text != "" {
				text += " (" + console.SanitizeInline(d.Text) + ")"
			}
		}
	}
	if u.Note != "" {
		p.say("%s, but the supervisor runs on with the old program: %s", text, console.SanitizeInline(u.Note))
		return
	}
	p.report("%s", text)
}

// showUpgrade shows what the upgrade waits for until stop is called.
func (p program) showUpgrade(daemon *Process) (stop func()) {
	if p.quiet {
		return func() {}
	}
	return console.StartProgress(p.stderr, func(elapsed time.Duration, columns int) string {
		if s, err := daemon.Status(); err == nil && s.Upgrading != 0 {
			head := fmt.Sprintf("waiting for worker %d to be ready: ", s.Upgrading)
			return console.FitLine(head, "", ", ", console.FormatElapsed(elapsed), columns)
		}
		return progressText(p.life.plan.name, daemon.PID, "upgrade", "", elapsed, columns)
	})
}

// upgradeDetails returns the lines of status about the last upgrade and the workers that drain.
func (s Status) upgradeDetails(p program) (lines []string) {
	for _, d := range s.Draining {
		who := fmt.Sprintf("worker %d", d.PID)
		if d.Version != "" {
			who += " (" + console.SanitizeInline(d.Version) + ")"
		}
		line := who + " drains"
		if left := time.Until(d.Until); !d.Until.IsZero() && left < unlimited/2 {
			line += ", " + console.FormatAge(max(0, left)) + " left"
		}
		if d.Text != "" {
			line += ": " + console.SanitizeInline(d.Text)
		}
		lines = append(lines, line)
	}
	u := s.LastUpgrade
	switch {
	case u == nil:
	case u.Error != "":
		lines = append(lines, fmt.Sprintf("last upgrade refused %s ago: %s", console.FormatAge(time.Since(u.At)), console.SanitizeInline(p.text(u.Err()))))
	case u.Note != "":
		lines = append(lines, "the supervisor runs on with the old program: "+console.SanitizeInline(u.Note))
	}
	return lines
}
