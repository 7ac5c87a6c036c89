package lifecycle

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/lifecycle/internal/privilege"
	"example.com/lifecycle/internal/safefile"
	"example.com/lifecycle/internal/userdb"
)

// User sets who the life becomes once every OnStart has succeeded, for good: "user", "user:group", or numbers, as in "1000:1000". OnStart still runs
// with the privileges of the start, for ports below 1024 and for keys; the bodies, every other hook and the roll-back of a start that fails later run
// with those of that user, with the groups that a login of that user has. All threads change (syscall.Setuid), and the start fails if
// one did not or if root could be had again. HOME, USER, LOGNAME and SHELL become those of the user, where the user database knows them; a
// number that it does not know needs a group. Variables of the session of who has started the life, such as SSH_AUTH_SOCK, XDG_RUNTIME_DIR and SUDO_USER,
// are removed; every other one stays.
//
// A log file that is made belongs to that user. The PID file stays root's: at the end it is removed, or emptied where the user may not remove it.
// Only root can become somebody else; who is that user already stays so. By default, nobody changes.
func User(name string) Option {
	return option(func(c *plan) {
		c.user = name
		user, group, hasGroup := strings.Cut(name, ":")
		if name != "" && (user == "" || hasGroup && group == "" || strings.Contains(group, ":") || hasControl(name)) {
			c.refuse(`User(%q): must be "user" or "user:group"`, name)
		}
		c.processOnly("User", name != "")
	})
}

// Chroot sets the root directory of the life from when every OnStart has succeeded, see chroot(2); the working directory is WorkDir if that lies
// inside, else the new root. Only with [User] does it confine: root can leave it. An OnStart that has left a directory open fails the start,
// since a root directory can be left through it. A relative path is taken from the directory of the start.
//
// Nothing outside can be opened any more. A log file outside is not reopened, and a PID file outside is emptied at the end and not removed. What
// lies inside keeps its path: LogFile("/srv/jail/log/x.log") with Chroot("/srv/jail"). By default, the root stays.
func Chroot(path string) Option {
	return option(func(c *plan) {
		c.chroot = path
		c.processOnly("Chroot", path != "")
	})
}

// credentials is who the life is to become.
type credentials struct {
	privilege.Identity
	Name, Home, Shell string // "": not in the user database
}

// lookUpCredentials finds out, before anything is started, who the life is to become, and whether it can.
func (p *plan) lookUpCredentials() (c *credentials, err error) {
	if p.chroot != "" {
		if info, err := os.Stat(p.chroot); err != nil {
			return nil, fmt.Errorf("lifecycle: Chroot(%q): %w", p.chroot, safefile.Cause(p.chroot, err))
		} else if !info.IsDir() {
			return nil, fmt.Errorf("lifecycle: Chroot(%q): not a directory", p.chroot)
		}
	}
	if p.user != "" {
		if c, err = credentialsOf(p.user); err != nil {
			return nil, fmt.Errorf("lifecycle: User(%q): %w", p.user, err)
		}
	}
	switch uid := os.Geteuid(); {
	case uid == 0:
	case p.chroot != "":
		return nil, fmt.Errorf("lifecycle: Chroot(%q): only root can do that, this is user %d: %w", p.chroot, uid, os.ErrPermission)
	case c != nil && (c.UID != uid || c.GID != os.Getegid()):
		return nil, fmt.Errorf("lifecycle: User(%q): only root can become user %d, this is user %d: %w", p.user, c.UID, uid, os.ErrPermission)
	}
	return c, nil
}

// identity returns the identity, nil for that of this process.
func (c *credentials) identity() *privilege.Identity {
	if c == nil {
		return nil
	}
	return &c.Identity
}

func credentialsOf(spec string) (*credentials, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	var u userdb.User
	id, err := number(name)
	if err == nil {
		u, err = userdb.ByID(id)
		if errors.Is(err, userdb.ErrUnknown) && hasGroup {
			u, err = userdb.User{UID: id}, nil
		} else if err != nil {
			err = fmt.Errorf("%w; name its group too", err)
		}
	} else {
		u, err = userdb.ByName(name)
	}
	if err == nil && hasGroup {
		if u.GID, err = number(group); err != nil {
			u.GID, err = userdb.GroupID(group)
		}
	}
	groups := []int{u.GID}
	if err == nil && u.Name != "" {
		groups, err = userdb.GroupsOf(u)
	}
	if err != nil {
		return nil, err
	}
	return &credentials{privilege.Identity{UID: u.UID, GID: u.GID, Groups: groups}, u.Name, u.Home, u.Shell}, nil
}

// number is an ID. The greatest of 32 bits means "nobody in particular" to the kernel.
func number(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = strconv.ErrRange
	}
	return int(n), err
}

// dropPrivileges gives up what the start needed, for good. What can no longer be done from then on is said now, and not when it is too late.
func (l *life) dropPrivileges() error {
	stays := !l.mode.isProcess() || l.mode.kind == modeSupervisor
	if stays || l.plan.chroot == "" && (l.credentials == nil || os.Geteuid() != 0) {
		return nil
	}
	seen := l.pathsFrom(l.plan.chroot)
	foreign := l.credentials.foreignVariables()
	_ = time.Local.String() // reads the time zone from its file, once
	if err := privilege.Drop(l.plan.chroot, l.credentials.identity()); err != nil {
		return fmt.Errorf("lifecycle: cannot go on %s: %w", l.credentialsText(), err)
	}
	if l.plan.chroot != "" {
		l.take(seen)
	}
	l.credentials.takeEnvironment(foreign)
	l.log.Info("goes on " + l.credentialsText())
	l.sayWhatIsLost()
	return nil
}

// differs reports whether the credentials are another user's than those of this process.
func (c *credentials) differs() bool { return c != nil && c.UID != os.Geteuid() }

func (l *life) credentialsText() string {
	text := ""
	if l.credentials != nil {
		text = fmt.Sprintf("as user %s (%d:%d)", l.plan.user, l.credentials.UID, l.credentials.GID)
	}
	if l.plan.chroot != "" {
		text = strings.TrimPrefix(text+" in "+l.plan.chroot, " ")
	}
	return text
}

// paths are the files of a life as they are seen from its root directory; "" is out of sight.
type paths struct{ pidFile, state, log, errorLog, workDir string }

func (l *life) pathsFrom(root string) paths {
	if root == "" {
		return paths{}
	}
	return paths{
		pidFile:  inside(root, l.plan.pidFile),
		state:    inside(root, statePath(l.plan.pidFile)),
		log:      inside(root, l.logs.stdout),
		errorLog: inside(root, l.logs.stderr),
		workDir:  inside(root, filepath.Join(l.plan.workDir, "x")),
	}
}

// inside is a path as it is seen from another root directory, "" if it cannot be seen from there.
func inside(root, path string) string {
	if path == "" {
		return ""
	}
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return ""
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return ""
	}
	rel, err := filepath.Rel(root, filepath.Join(dir, filepath.Base(path)))
	if err != nil || !filepath.IsLocal(rel) {
		return ""
	}
	return string(filepath.Separator) + rel
}

// take goes on with the files as they are seen from the new root directory.
func (l *life) take(seen paths) {
	l.lock.SetPath(seen.pidFile)
	l.state.SetPath(seen.state)
	for path, now := range map[*string]string{&l.logs.stdout: seen.log, &l.logs.stderr: seen.errorLog} {
		if *path != "" && now == "" {
			l.outsideRoot = append(l.outsideRoot, *path)
		} else {
			*path = now
		}
	}
	if l.plan.workDir != "" && seen.workDir != "" {
		if err := os.Chdir(filepath.Dir(seen.workDir)); err != nil {
			l.log.Warn("the working directory is that of the root now", "err", err)
		}
	}
}

func (l *life) sayWhatIsLost() {
	_ = l.state.CheckRemovable() // the PID file beside it is reported
	if why := l.lock.CheckRemovable(); why != nil {
		l.log.Info("the PID file will be emptied at the end, not removed", "pidfile", l.plan.pidFile, "why", why)
	}
	if !l.mode.background {
		return
	}
	logs, err := l.openLogs()
	if err != nil {
		l.log.Warn("the log cannot be reopened from now on", "err", trimPrefix(err))
		return
	}
	logs.Close()
}

// environment is what a login of that user has in its environment, nil if the user database does not know the user.
func (r *credentials) environment() []string {
	if r == nil || r.Name == "" {
		return nil
	}
	return []string{"HOME=" + r.Home, "USER=" + r.Name, "LOGNAME=" + r.Name, "SHELL=" + cmp.Or(r.Shell, "/bin/sh")} // passwd(5)
}

// foreignVariables returns the names of the variables that a life takes off with its user: they lead to the session, the keys and the mail of
// the user who has started it, or tell who that was. Every other variable goes on; what nobody else may know belongs into no environment.
func (c *credentials) foreignVariables() (names []string) {
	if !c.differs() {
		return nil
	}
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); isOfSession(name) {
			names = append(names, name)
		}
	}
	return names
}

func isOfSession(name string) bool {
	for _, prefix := range []string{"SUDO_", "SSH_", "DBUS_", "XDG_SESSION_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains([]string{
		"XDG_RUNTIME_DIR", "XDG_SEAT", "XDG_VTNR", "XAUTHORITY", "GPG_AGENT_INFO", "MAIL", "DOAS_USER", "PKEXEC_UID",
	}, name)
}

// takeEnvironment makes the environment that of the role. It is asked for the foreign variables before the user has changed.
func (r *credentials) takeEnvironment(foreign []string) {
	for _, name := range foreign {
		os.Unsetenv(name)
	}
	for _, variable := range r.environment() {
		name, value, _ := strings.Cut(variable, "=")
		os.Setenv(name, value)
	}
}
