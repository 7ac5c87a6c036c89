package secureenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.com/lifecycle/internal/proctest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// child is the variable that selects what this binary does instead of running the tests: it reports
// its environment, before or after a change of its user.
const child = "SECUREENV_TEST_CHILD"

const somebody = 12345 // a user without an entry in any database

func TestMain(m *testing.M) {
	switch what := os.Getenv(child); what {
	case "":
		os.Exit(m.Run())
	case "setuid":
		if err := errors.Join(syscall.Setgid(0), syscall.Setuid(0)); err != nil {
			panic(err)
		}
		fallthrough
	case "say":
		say()
		os.Setenv(child, "say again")
		panic(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	case "say again":
		say()
	case "believe":
		Believe()
		say()
	}
}

func say() {
	var all []string
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); slices.Contains(given, name) {
			all = append(all, entry)
		}
	}
	slices.Sort(all)
	fmt.Println(strings.Join(all, " "))
	for _, name := range given {
		if Get(name) != "" && ruleOf(name) == Removed {
			fmt.Println("heeded:", name)
		}
	}
}

// given lists the variables that the caller sets to "/evil".
var given = func() (all []string) {
	for _, v := range Variables {
		all = append(all, v.Name)
	}
	for _, pattern := range Unsecure {
		all = append(all, strings.ReplaceAll(pattern, "*", "X"))
	}
	slices.Sort(all)
	return append(all, "ZZZ")
}()

func TestAnUntrustedCallersVariablesReachNeitherTheProcessNorItsPrograms(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	relieved := "NO_COLOR=/evil PATH=" + Path + " TERM=/evil ZZZ=/evil _GO_DAEMON=/evil _LIFECYCLE_STAGE=/evil _LIFECYCLE_TAKEOVER=/evil _LIFECYCLE_WORKER=/evil\n"
	for how, give := range map[string]func(path string) error{
		"setuid": proctest.SetuidRoot,
		"setgid": func(path string) error { return os.Chmod(path, 0o755|os.ModeSetgid) },
		"file":   proctest.Capability(unix.CAP_NET_BIND_SERVICE),
	} {
		path := privileged(t, give)
		require.Equal(t, relieved+relieved, called(t, path, "say"), how)
		if how == "setuid" {
			require.Equal(t, relieved+relieved, called(t, path, "setuid"), "root executes itself, and is no setuid program any more")
		}
	}
}

func TestNoVariableIsRemovedFromAnOrdinaryProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	out := called(t, privileged(t, func(string) error { return nil }), "believe")
	for _, name := range given {
		require.Contains(t, " "+strings.ReplaceAll(out, "\n", " "), " "+name+"=/evil ", name)
	}
}

func TestTheVariablesOfAProvenSupervisorAreRead(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	out := called(t, privileged(t, func(path string) error { return os.Chmod(path, 0o755|os.ModeSetuid) }), "believe")
	for _, v := range Variables {
		if v.Rule == Removed {
			require.Contains(t, out, "heeded: "+v.Name+"\n")
		}
	}
	require.NotContains(t, out, "LD_X=")
	require.Contains(t, out, "PATH="+Path+" ")
}

func TestAVariableThatIsNotListedIsNotRead(t *testing.T) {
	t.Setenv("ZZZ", "1")
	t.Setenv("TERM", "1")
	require.Empty(t, Get("ZZZ"))
	require.Equal(t, "1", Take("TERM"))
	require.Empty(t, os.Getenv("TERM"))
}

func TestATimeZoneMayBeANameButNotAFile(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"", ":", "UTC", ":UTC", "Europe/Rome", "CET-1CEST,M3.5.0,M10.5.0/3"} {
		require.False(t, namesFile(zone), zone)
	}
	for _, zone := range []string{"/etc/shadow", ":/dev/zero", "../../../etc/shadow", "Europe/../../x"} {
		require.True(t, namesFile(zone), zone)
	}
}

// called runs the program as an unprivileged user, and returns its output.
func called(t *testing.T, path, what string) string {
	t.Helper()
	cmd := exec.Command(path)
	cmd.Dir = "/"
	for _, name := range given {
		cmd.Env = append(cmd.Env, name+"=/evil")
	}
	cmd.Env = append(cmd.Env, child+"="+what)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &stderr)
	return string(out)
}

// privileged returns a copy of the test binary that every user can execute, and that has more
// rights than the caller.
func privileged(t *testing.T, give func(path string) error) (path string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	path = filepath.Join(dir, "program")
	self, err := os.Executable()
	require.NoError(t, err)
	// Another process makes the copy. If this process did, a program that another test starts at
	// the same time would inherit the file open for writing.
	require.NoError(t, exec.Command("cp", self, path).Run())
	require.NoError(t, os.Chmod(path, 0o755))
	proctest.Grant(t, path, give)
	return path
}
