package takeover

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/memfile"
)

const somebody = 12345

// forger executes a program in this process with a mark and a memfd of its own making.
var forger = proctest.Register("forger", func(args []string) int {
	path, kind, user := args[0], args[1], args[2]
	if user != "" {
		must(syscall.Setgroups(nil))
		must(syscall.Setgid(somebody))
		must(syscall.Setuid(somebody))
	}
	var fd int
	text := fmt.Sprintf(`{"pid":%d,"files":[],"state":"forged"}`, os.Getpid())
	switch kind {
	case "of another process":
		text = fmt.Sprintf(`{"pid":%d,"files":[],"state":"forged"}`, os.Getppid())
	case "with a file that is not open":
		text = fmt.Sprintf(`{"pid":%d,"files":[{"fd":77}],"state":"forged"}`, os.Getpid())
	case "without an object":
		text = "[]"
	}
	fd, err := unix.MemfdCreate("x", unix.MFD_ALLOW_SEALING)
	must(err)
	_, err = unix.Write(fd, []byte(text))
	must(err)
	if kind != "unsealed" {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, memfile.Seals)
		must(err)
	}
	mark := fmt.Sprint(fd)
	switch kind {
	case "no descriptor":
		mark = "77"
	case "not a number":
		mark = "x"
	case "stdin":
		must(unix.Dup2(fd, 0))
		mark = "0"
	case "a file":
		f, err := os.Open(path)
		must(err)
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFD, 0)
		must(err)
		mark = fmt.Sprint(f.Fd())
	}
	must(os.Setenv(proctest.Variable, teller))
	must(os.Setenv(markVariable, mark))
	panic(syscall.Exec(path, []string{"x"}, os.Environ()))
})

// teller writes whether a state was passed to it.
var teller = proctest.Register("teller", func([]string) int {
	fmt.Printf("inherited: %t, mark: %q\n", inherited != nil, os.Getenv(markVariable))
	return 0
})

func TestAForgedMarkHasNoEffect(t *testing.T) {
	t.Parallel()
	proctest.Use(teller)
	forged := func(path, kind, user string) string {
		return proctest.Call(t, forger, path, kind, user).Stdout
	}
	require.Equal(t, "inherited: true, mark: \"\"\n", forged(proctest.Binary(), "", ""), "or this test shows nothing")
	for _, kind := range []string{
		"of another process", "with a file that is not open", "without an object", "unsealed", "no descriptor", "not a number", "stdin", "a file",
	} {
		require.Equal(t, "inherited: false, mark: \"\"\n", forged(proctest.Binary(), kind, ""), kind)
	}
}

func TestAPrivilegedProgramAcceptsNoStateOfItsCaller(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	for what, give := range map[string]func(path string) error{
		"setuid": proctest.SetuidRoot, "setgid": func(path string) error { return os.Chmod(path, 0o755|os.ModeSetgid) },
		"file": proctest.Capability(unix.CAP_SETUID),
	} {
		dir := t.TempDir()
		require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
		require.NoError(t, os.Chmod(dir, 0o755))
		path := filepath.Join(dir, "program")
		require.NoError(t, exec.Command("cp", proctest.Binary(), path).Run())
		require.NoError(t, os.Chmod(path, 0o755))
		require.Equal(t, "inherited: true, mark: \"\"\n", proctest.Call(t, forger, path, "", "somebody").Stdout, what)
		proctest.Grant(t, path, give)
		require.Equal(t, "inherited: false, mark: \"\"\n", proctest.Call(t, forger, path, "", "somebody").Stdout, what)
	}
}
