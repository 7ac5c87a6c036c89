package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/ctlsock"
)

const untouched = "plain, and the mark is \"\"\n"

// Row L9.
func TestAForgedMarkHasNoEffect(t *testing.T) {
	t.Parallel()
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer file.Close()
	service, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"})
	require.NoError(t, err)
	defer service.Close()
	client, err := net.DialUnix("unix", nil, service.Addr().(*net.UnixAddr))
	require.NoError(t, err)
	defer client.Close()
	connected, err := client.File()
	require.NoError(t, err)
	defer connected.Close()
	ours, theirs, err := ctlsock.Pair()
	require.NoError(t, err)
	defer ours.Close()
	defer theirs.Close()
	markOf := func(f *os.File) string {
		mark, err := ctlsock.Mark(f)
		require.NoError(t, err)
		return mark
	}
	for what, tt := range map[string]struct {
		mark string
		fd3  *os.File
	}{
		"empty":                       {"", file},
		"without a number":            {":" + markOf(theirs), theirs},
		"of no descriptor":            {"77:" + markOf(theirs), theirs},
		"of another pair":             {"3:1:1", theirs},
		"of stdin":                    {"0:" + markOf(theirs), theirs},
		"of a file":                   {"3:" + markOf(file), file},
		"of a service with addresses": {"3:" + markOf(connected), connected},
		"of a number that is too big": {"99999999999999999999:" + markOf(theirs), theirs},
	} {
		cmd := program(t, "plain")
		cmd.Env = append(cmd.Env, markVariable+"="+tt.mark)
		cmd.Stdin, cmd.ExtraFiles = theirs, []*os.File{tt.fd3}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, what)
		require.Equal(t, untouched, string(out), what)
	}
}

// A process that creates a socket pair and passes one end on is not a supervisor, because a
// supervisor is the parent of its worker.
func TestOnlyTheParentOfAWorkerCanMakeItsControlSocket(t *testing.T) {
	t.Parallel()
	ours, theirs, err := ctlsock.Pair()
	require.NoError(t, err)
	defer ours.Close()
	defer theirs.Close()
	mark, err := ctlsock.Mark(theirs)
	require.NoError(t, err)
	require.NoError(t, ctlsock.NewPeer(ours).Send(stageOrders{Note: json.RawMessage(`""`)}))
	inner := program(t, "plain")
	cmd := exec.Command("sh", "-c", `"$0"; echo $?`, inner.Path)
	cmd.Env = append(inner.Env, markVariable+"=3:"+mark)
	cmd.ExtraFiles = []*os.File{theirs}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "1\n", string(out))
}

// forge executes a program as its supervisor would. It runs as an unprivileged user, and tries to
// make the program execute another program.
func forge(path, kind, victim string) {
	err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(somebody), syscall.Setuid(somebody))
	ours, theirs, pairErr := ctlsock.Pair()
	if err = errors.Join(err, pairErr); err != nil {
		panic(err)
	}
	mark, _ := ctlsock.Mark(theirs)
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), child+"=plain", markVariable+"=3:"+mark)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Args = []string{"id", "-u"}
	told := stageOrders{Note: json.RawMessage(`"look"`)}
	if kind == "program" {
		told = stageOrders{Program: &stageProgram{Path: []byte(victim), Umask: -1}}
	}
	peer := ctlsock.NewPeer(ours)
	_ = peer.Send(told)
	out, err := cmd.CombinedOutput()
	theirs.Close()
	said, _ := peer.Receive()
	fmt.Printf("%s%s%v\n", out, said, err)
}

// privileged returns the path of a copy of the test binary that every user can execute, and that
// has more rights than its caller.
func privileged(t *testing.T, give func(path string) error) (path string) {
	t.Helper()
	path = copyOf(t)
	proctest.Grant(t, path, give)
	return path
}

func noMore(string) error { return nil }

var maySetuid = proctest.Capability(unix.CAP_SETUID)

// Rows L9, L10.
func TestAPrivilegedProgramExecutesNothingForItsCaller(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	id, err := exec.LookPath("id")
	require.NoError(t, err)
	forged := func(give func(string) error, kind string) string {
		out, err := program(t, "forge", privileged(t, give), kind, id).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	require.Equal(t, fmt.Sprintf("%d\n<nil>\n", somebody), forged(noMore, "program"), "otherwise this test would prove nothing")
	require.Equal(t, untouched+"<nil>\n", forged(proctest.SetuidRoot, "program"))
	require.Equal(t, untouched+"<nil>\n", forged(proctest.SetuidRoot, "worker"))
	require.Equal(t, untouched+"<nil>\n", forged(maySetuid, "program"))
	require.Equal(t, untouched+"<nil>\n", forged(maySetuid, "worker"))
}

// Row L9.
func TestASetuidProgramCanStartWorkers(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	path := privileged(t, proctest.SetuidRoot)
	asSomebody := func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = path, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
	}
	s := startSupervisor(t, own("look"), asSomebody)
	require.Equal(t, "worker", lineOf[looks](s, "look ").Comm)
	o := shell("") // not a shell, which would drop its additional rights
	o.Program, o.Args = "/bin/grep", []string{"grep", "^Uid:", "/proc/self/status"}
	require.Equal(t, "12345 0 0 0", strings.Join(strings.Fields(startSupervisor(t, o, asSomebody).line("Uid:")), " "))
}

// A user connects to a service of root, which sends the data that the user requests. Root is then
// the peer of the user's socket, but the socket is not one end of a pair.
// Row L9.
func TestAServiceOfRootIsNotTheSupervisorOfItsClient(t *testing.T) {
	t.Parallel()
	service, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"})
	require.NoError(t, err)
	defer service.Close()
	client, err := net.DialUnix("unix", nil, service.Addr().(*net.UnixAddr))
	require.NoError(t, err)
	defer client.Close()
	server, err := service.Accept()
	require.NoError(t, err)
	defer server.Close()
	line, err := ctlsock.Encode(stageOrders{Program: &stageProgram{Path: []byte("/bin/echo"), Umask: -1}})
	require.NoError(t, err)
	_, err = server.Write(line)
	require.NoError(t, err)
	connected, err := client.File()
	require.NoError(t, err)
	defer connected.Close()
	mark, err := ctlsock.Mark(connected)
	require.NoError(t, err)
	cmd := program(t, "plain", "executed")
	cmd.Env = append(cmd.Env, markVariable+"=3:"+mark)
	cmd.ExtraFiles = []*os.File{connected}
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, untouched, string(out))
}
