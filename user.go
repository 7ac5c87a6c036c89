package lifecycle

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/sys/privilege"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/startup"
	"example.com/lifecycle/internal/sys/userdb"
)

// User sets the user that the life becomes, permanently, when every OnStart has succeeded. The name
// is "user", "user:group", or numbers, as in "1000:1000". OnStart still runs with the privileges of
// the start, for ports below 1024 and for keys. The bodies and all other hooks run as the user,
// with the groups that the user has after a login. So does the rollback of a start that fails
// later. Run changes the user of all threads (syscall.Setuid). The start fails if a thread did not
// change, or if the process could become root again.
//
// HOME, USER, LOGNAME and SHELL get the values of the user if the user database knows the user. A
// numeric user that the database does not know needs a group. Run removes variables of the session
// that started the life, such as SSH_AUTH_SOCK, XDG_RUNTIME_DIR and SUDO_USER. All other variables
// stay.
//
// New log files belong to the user. The PID file still belongs to root: at its end, the life
// removes the file, or empties it if the user may not remove it. Only root can become another user.
// A process that already runs as the user does not change. By default, the user does not change.
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

// Chroot sets the root directory of the life when every OnStart has succeeded; see chroot(2). The
// working directory becomes WorkDir if WorkDir is inside the new root directory. Otherwise it
// becomes the new root directory. Chroot confines the life only together with [User], because root
// can leave the new root directory. The start fails if an OnStart has left a directory open,
// because the process could leave the new root through it. A relative path is relative to the
// working directory of the process at its start.
//
// The life can no longer open a file outside the new root. It does not reopen a log file outside.
// At its end, it empties a PID file outside and does not remove it. A socket file outside stays.
// Options take the paths from before the change: LogFile("/srv/jail/log/x.log") with
// Chroot("/srv/jail"). A relative path that is used later, as in socket.Listen, works only if the
// directory of the start is inside the new root. By default, the root directory does not change.
func Chroot(path string) Option {
	return option(func(c *plan) {
		c.chroot = path
		c.processOnly("Chroot", path != "")
	})
}

// credentials describes the user that the life becomes.
type credentials struct {
	privilege.Identity
	Name, Home, Shell string // "" if not in the user database
}

// lookUpCredentials returns the credentials of the option User, or nil without that option. It
// returns an error if this process cannot change to that user or to the root directory of Chroot.
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
		return nil, fmt.Errorf("lifecycle: Chroot(%q): only root can change the root directory; this process is user %d: %w", p.chroot, uid, os.ErrPermission)
	case c != nil && (c.UID != uid || c.GID != os.Getegid()):
		return nil, fmt.Errorf("lifecycle: User(%q): only root can become user %d; this process is user %d: %w", p.user, c.UID, uid, os.ErrPermission)
	}
	return c, nil
}

// identity returns the identity, or nil to keep the identity of this process.
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
		if unknown := errors.Is(err, userdb.ErrUnknown); unknown && hasGroup {
			u, err = userdb.User{UID: id}, nil
		} else if unknown {
			err = fmt.Errorf("%w; set its group too, as UID:GID", err)
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

// number parses an ID. To the kernel, the greatest 32-bit number means "no change".
func number(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = strconv.ErrRange
	}
	return int(n), err
}

// dropPrivileges gives up the privileges of the start, permanently. It logs what the process can no
// longer do.
func (l *life) dropPrivileges() error {
	stays := !l.mode.isProcess() || l.mode.kind == modeSupervisor
	if stays || l.plan.chroot == "" && (l.credentials == nil || os.Geteuid() != 0) {
		return nil
	}
	seen := l.pathsFrom(l.plan.chroot)
	session := l.credentials.sessionVariables()
	_ = time.Local.String() // loads the time zone from its file, once
	if err := privilege.Drop(l.plan.chroot, l.credentials.identity()); err != nil {
		return fmt.Errorf("lifecycle: cannot run %s: %w", l.credentialsText(), err)
	}
	if l.plan.chroot != "" {
		l.take(seen)
	}
	l.credentials.takeEnvironment(session)
	l.log.Info("running " + l.credentialsText())
	l.sayWhatIsLost()
	return nil
}

// differs reports whether the user is not the user of this process.
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

// paths contains the files of a life as seen from its root directory. A path is "" if it is
// outside.
type paths struct {
	pidFile, state, log, errorLog string
	workDir, startDir             string
	sockets                       func() // replaces the paths of the sockets
}

func (l *life) pathsFrom(root string) paths {
	if root == "" {
		return paths{}
	}
	return paths{
		pidFile:  safefile.Inside(root, l.plan.pidFile),
		state:    safefile.Inside(root, statePath(l.plan.pidFile)),
		log:      safefile.Inside(root, l.logs.stdout),
		errorLog: safefile.Inside(root, l.logs.stderr),
		workDir:  safefile.InsideDir(root, l.plan.workDir),
		startDir: safefile.InsideDir(root, startup.Dir()),
		sockets:  fdstore.ChangeRoot(func(path string) string { return safefile.Inside(root, path) }),
	}
}

// take replaces the paths of the life with paths inside the new root directory.
func (l *life) take(seen paths) {
	l.lock.SetPath(seen.pidFile)
	l.state.SetPath(seen.state)
	startup.SetDir(seen.startDir)
	seen.sockets()
	for path, now := range map[*string]string{&l.logs.stdout: seen.log, &l.logs.stderr: seen.errorLog} {
		if *path != "" && now == "" {
			l.outsideRoot = append(l.outsideRoot, *path)
		} else {
			*path = now
		}
	}
	if l.plan.workDir != "" && seen.workDir != "" {
		if err := os.Chdir(seen.workDir); err != nil {
			l.log.Warn("cannot change to WorkDir inside the root directory, so the working directory is /", "err", err)
		}
	}
}

func (l *life) sayWhatIsLost() {
	_ = l.state.CheckRemovable() // the PID file is in the same directory, so one log record is enough
	if why := l.lock.CheckRemovable(); why != nil {
		l.log.Info("the daemon cannot remove the PID file at its end and will empty it instead", "pidfile", l.plan.pidFile, "why", why)
	}
	if !l.mode.background {
		return
	}
	logs, err := l.openLogs()
	if err != nil {
		l.log.Warn("the daemon can no longer reopen its log", "err", trimPrefix(err))
		return
	}
	logs.Close()
}

// environment returns the variables that a login of the user sets, or nil if the user database does
// not know the user.
func (c *credentials) environment() []string {
	if c == nil || c.Name == "" {
		return nil
	}
	// passwd(5): an empty shell is /bin/sh.
	return []string{"HOME=" + c.Home, "USER=" + c.Name, "LOGNAME=" + c.Name, "SHELL=" + cmp.Or(c.Shell, "/bin/sh")}
}

// sessionVariables returns the names of the variables that the life removes when the user changes.
// They refer to the session, the keys and the mail of the user who started the life, or identify
// that user. All other variables stay, even if they contain a secret.
func (c *credentials) sessionVariables() (names []string) {
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

// takeEnvironment removes the variables of the session and sets the variables of the user. The
// caller gets the names from sessionVariables before the user changes.
func (c *credentials) takeEnvironment(session []string) {
	for _, name := range session {
		os.Unsetenv(name)
	}
	for _, variable := range c.environment() {
		name, value, _ := strings.Cut(variable, "=")
		os.Setenv(name, value)
	}
}

// checkEndable returns an error if a supervisor in this process could not signal a worker that has
// these credentials.
func (c *credentials) checkEndable(user string) error {
	if !c.differs() || privilege.MaySignal(c.UID) {
		return nil
	}
	return fmt.Errorf("lifecycle: User(%q): this process lacks CAP_KILL, so it could not end its worker as user %d: "+
		"add the capability KILL, or run as that user from the start: %w", user, c.UID, os.ErrPermission)
}
