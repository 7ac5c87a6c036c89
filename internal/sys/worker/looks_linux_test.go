package worker

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func report(what string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n", what, text)
}

// looks is what a worker reports about itself.
type looks struct {
	Note, Args, Comm, Dir string
	Exe                   string // the file that the kernel has executed
	PID, Parent, Group    int
	Env                   []string
	Open                  map[int]string // from descriptor 3 on, without the Go runtime's
	Inherited             []int          // by a program that the worker executes, from 3 on
	Ignored, Blocked      string
}

func look(in *Handoff) (l looks) {
	comm, _ := os.ReadFile("/proc/self/comm")
	dir, _ := os.Getwd()
	group, _ := syscall.Getpgid(0)
	l = looks{
		Note: string(in.Note), Args: strings.Join(os.Args, " "), Comm: strings.TrimSpace(string(comm)), Dir: dir,
		PID: os.Getpid(), Parent: os.Getppid(), Group: group, Env: told(os.Environ()), Open: map[int]string{},
	}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, entry := range entries {
		fd, _ := strconv.Atoi(entry.Name())
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || fd < firstSocket {
			continue
		}
		if path, _ := os.Readlink("/proc/self/fd/" + entry.Name()); !strings.HasPrefix(path, "anon_inode:") {
			l.Open[fd] = path
		}
		if flags&unix.FD_CLOEXEC == 0 {
			l.Inherited = append(l.Inherited, fd)
		}
	}
	l.Exe, _ = os.Readlink("/proc/self/exe")
	l.Ignored, l.Blocked = signals()
	return l
}

// told returns the variables in env that a service manager sets, and variables with similar names.
func told(env []string) (told []string) {
	for _, variable := range env {
		name := nameOf(variable)
		for _, prefix := range []string{"NOTIFY_", "FDSTORE", "WATCHDOG_", "LISTEN_", "_LIFECYCLE", "=", "TWICE", "HOME", "USER"} {
			if strings.HasPrefix(name+"=", prefix) {
				told = append(told, variable)
			}
		}
	}
	slices.Sort(told)
	return told
}

// signals returns the signals that this process ignores, and the signals that its first thread has
// blocked.
func signals() (ignored, blocked string) {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch name {
		case "SigIgn":
			ignored = value
		case "SigBlk":
			blocked = value
		}
	}
	return ignored, blocked
}

// work is the main function of the worker. It does what its note requests.
func work(in *Handoff) {
	var note string
	_ = json.Unmarshal(in.Note, &note)
	switch note {
	case "look":
		report("look", look(in))
		os.Exit(3)
	case "wait":
		lost := in.Take()
		fmt.Println("waits")
		<-lost
		fmt.Println("lost", in.Take() == lost)
	case "talk":
		lost := in.Take()
		_ = in.Hello(Hello{Protocol: 7, Version: "v2", PIDFile: []byte("/run/\xff.pid"), Supervises: true, Refuses: "no reason"})
		_ = in.Hello(Hello{Version: "a second one"})
		<-in.Replaced()
		fmt.Println("replaced")
		in.OnAsk(func(state json.RawMessage) error {
			if text := string(state); strings.HasPrefix(text, `"ask badly`) {
				return fmt.Errorf("it is bad: %.100s", text)
			}
			return nil
		})
		<-lost
	case "long":
		_ = in.Hello(Hello{Version: "v\xff" + strings.Repeat("x", 300<<10), Refuses: strings.Repeat("\xff", 300<<10)})
		<-in.Take()
	case "halves":
		c := make(chan os.Signal, 1)
		signal.Notify(c, unix.SIGUSR1)
		in.Take()
		for _, text := range []string{"panic: half", " a line\n\n\x00{\"hello\":{\"version\":\"", "v1\"}}\nall\n"} {
			_, _ = unix.Write(controlSocket(), []byte(text))
			fmt.Println("wrote")
			<-c
		}
	case "lies":
		lies(in)
	case "flood":
		fmt.Println("flooded:", flood())
		<-in.Take()
	case "take nothing":
		fmt.Println("waits")
		select {}
	case "crash":
		if err := in.RedirectCrashOutput(); err != nil {
			fmt.Println(err)
		}
		panic("crashes on purpose")
	case "children":
		out, err := exec.Command("sh", "-c", "ls /proc/self/fd | tr '\n' ' '; env | grep -E '^(_LIFECYCLE|LISTEN_PID)'").CombinedOutput()
		fmt.Printf("children: %q %v\n", out, err)
	case "nothing":
	default:
		fmt.Println("a note of", len(note))
	}
}

// lies sends what no worker of this library sends.
func lies(in *Handoff) {
	lost := in.Take()
	for _, message := range []string{
		`x`, `[]`, `{"hello":7}`, `{"answer":{"id":1}}`, `{"answer":{"id":-1,"reason":"x"}}`, `{"unknown":{}}`, `{"hello":{"protocol":1}}`,
	} {
		_ = in.peer.Send(json.RawMessage(message))
	}
	_ = in.peer.Send(json.RawMessage(`{"hello":{"version":"` + strings.Repeat("x", 100<<10) + `"}}`))
	<-lost
}
