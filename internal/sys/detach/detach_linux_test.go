package detach

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/ctlsock"
)

// child is the variable that selects what this binary does instead of running the tests; see
// TestMain.
const child = "DETACH_TEST_CHILD"

// Go initialises a variable before the init functions of this package. Stage 1 therefore
// initialises it too.
var _ = beforeInit()

func beforeInit() error {
	stage := strings.SplitN(os.Getenv(markVariable), ":", 2)[0]
	switch os.Getenv(child) + " in stage " + stage {
	case "delete in stage 1":
		path, err := os.Executable()
		return errors.Join(err, os.Remove(path))
	case "crash in stage 1", "crash in stage 2":
		panic("crashed before the init")
	case "exit in stage 2":
		os.Exit(3)
	}
	return nil
}

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		if Inherited() != nil {
			os.Exit(98) // otherwise it would run the tests
		}
		os.Exit(m.Run())
	}
	time.AfterFunc(30*time.Second, func() { os.Exit(99) })
	in := Inherited()
	if in == nil {
		os.Exit(launchAgain())
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		os.Exit(97)
	}
	_ = in.Launcher.Send(map[string]any{"note": in.Note, "files": len(in.Files), "args": os.Args, "comm": string(comm)})
	messages, _ := in.Take()
	for range messages { // until the launcher is gone
	}
	os.Exit(0)
}

// launchAgain is a launcher in its own process. It prints the messages that it receives, and then
// the last output.
func launchAgain() (exitCode int) {
	peer, err := Start(Spec{Args: []string{"again", "and again"}, Note: "a note", Files: []*os.File{os.Stdin, os.Stdin}}, nil)
	if err != nil {
		fmt.Println("start:", err)
		return 1
	}
	for told, answered := false, false; !told || !answered; {
		text, err := peer.Receive()
		switch {
		case err != nil:
			fmt.Println("receive:", err)
			told, answered = true, true
		case !bytes.Contains(text, []byte(`"pid"`)):
			answered = true
			fmt.Printf("%s\n", text)
		case !told: // both stage 1 and the daemon report it
			told = true
			fmt.Println("stage 1")
		}
	}
	_ = peer.CloseWrite()
	for {
		if _, err := peer.Receive(); err != nil {
			break
		}
	}
	fmt.Print(peer.Output())
	return 0
}

func runChild(t *testing.T, what string) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "program")
	// Another process makes the copy. If this process made it, a program that another test starts at
	// the same time would inherit the file open for writing. Executing the copy would then fail with
	// ETXTBSY.
	require.NoError(t, exec.Command("cp", self, path).Run())
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), child+"="+what, "GORACE=atexit_sleep_ms=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Run(), "%s", &out)
	return out.String()
}

// lines returns the lines of the text in sequence. Two processes may write their lines in any
// sequence.
func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

const answer = `{"args":["again","and again"],"comm":"%s\n","files":2,"note":"a note"}`

func TestADetachedProcessGetsItsNoteFilesAndArguments(t *testing.T) {
	t.Parallel()
	require.ElementsMatch(t, []string{"stage 1", strings.ReplaceAll(fmt.Sprintf(answer, "program"), "\n", `\n`)}, lines(runChild(t, "plain")))
}

// Row E16.
func TestADetachedProcessStartsEvenIfItsFileWasRemoved(t *testing.T) {
	t.Parallel()
	require.ElementsMatch(t, []string{"stage 1", strings.ReplaceAll(fmt.Sprintf(answer, "again"), "\n", `\n`)}, lines(runChild(t, "delete")))
}

func TestOutputBeforeTheInitIsReported(t *testing.T) {
	t.Parallel()
	got := lines(runChild(t, "crash"))
	require.True(t, strings.HasPrefix(got[0], "receive: "), "the reset or the end of the socket: %s", got)
	require.Equal(t, "panic: crashed before the init", got[1])

	got = lines(runChild(t, "exit"))
	require.Equal(t, "stage 1", got[0])
	require.True(t, strings.HasPrefix(got[1], "receive: "), "%s", got)
	require.Len(t, got, 2)
}

// Give queues the note and the files before any process receives them.
func TestGiveQueuesTheNoteAndTheFiles(t *testing.T) {
	t.Parallel()
	conn, theirs, err := ctlsock.Pair()
	require.NoError(t, err)
	defer conn.Close()
	defer theirs.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, give(conn, Spec{Note: map[string]int{"x": 1}, Stderr: file, Files: []*os.File{file, file}}))

	buf, control := make([]byte, 1<<10), make([]byte, unix.CmsgSpace(8*4))
	n, controlled, _, _, err := unix.Recvmsg(int(theirs.Fd()), buf, control, unix.MSG_CMSG_CLOEXEC)
	require.NoError(t, err)
	var got note
	require.NoError(t, json.Unmarshal(bytes.Trim(buf[:n], "\n\x00"), &got))
	require.Equal(t, note{Note: json.RawMessage(`{"x":1}`), Stderr: true, Names: [][]byte{[]byte(file.Name()), []byte(file.Name())}}, got)
	messages, err := unix.ParseSocketControlMessage(control[:controlled])
	require.NoError(t, err)
	fds, err := unix.ParseUnixRights(&messages[0])
	require.NoError(t, err)
	require.Len(t, fds, 3)
	for _, fd := range fds {
		require.NoError(t, unix.Close(fd))
	}
	require.Error(t, give(conn, Spec{Note: func() {}}), "a note with a function cannot be sent")
}

func TestADuplicateIsNotInheritedAndIsNotAStandardDescriptor(t *testing.T) {
	t.Parallel()
	copied, err := dup(os.Stderr)
	require.NoError(t, err)
	defer copied.Close()
	requireCloseOnExec(t, int(copied.Fd()), true)
	require.Greater(t, int(copied.Fd()), stderr)
}

func requireCloseOnExec(t *testing.T, fd int, want bool) {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.Equal(t, want, flags&unix.FD_CLOEXEC != 0, "descriptor %d", fd)
}

func TestRedirectReplacesADescriptorInOneStep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var files []*os.File
	for _, name := range []string{"a", "b"} {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		defer f.Close()
		files = append(files, f)
	}
	target := int(files[1].Fd())
	require.NoError(t, Redirect(files[0], target))
	_, err := files[1].WriteString("to the first")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.Equal(t, "to the first", string(text))
	requireCloseOnExec(t, target, false)
	require.NoError(t, Redirect(files[0], int(files[0].Fd())), "onto itself")
}

func TestNestedCallsOfAdoptOrphansAreCounted(t *testing.T) {
	subreaper := func() (is int32) {
		require.NoError(t, prctlGet(&is))
		return is
	}
	require.Zero(t, subreaper())
	first, second := AdoptOrphans(), AdoptOrphans()
	require.EqualValues(t, 1, subreaper())
	first()
	first() // does nothing
	require.EqualValues(t, 1, subreaper())
	second()
	require.Zero(t, subreaper())
}

func prctlGet(is *int32) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(is)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
