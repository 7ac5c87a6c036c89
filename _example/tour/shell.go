package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"example.com/lifecycle"
)

// patience is how long the tour waits for an answer.
const patience = 15 * time.Second

// program is the import path of the program to build. With it, the tour runs from any directory of
// the module.
const program = "example.com/lifecycle/_example/echod"

// shell prints the commands that a user would type, runs them in a directory of its own, prints the
// output and checks it. It collects wrong answers.
type shell struct {
	ctx    context.Context // of the whole tour; Ctrl-C ends it
	dir    string
	echo   *daemon // nil before the first start
	logged int     // how much of its log has been shown
	wrong  []error
}

// daemon is an echod in the background.
type daemon struct {
	*lifecycle.Process
	url string
}

func tour(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "lifecycle-tour-")
	if err != nil {
		return err
	}
	sh := &shell{ctx: ctx, dir: dir}
	defer func() {
		err = errors.Join(err, sh.cleanUp(), os.RemoveAll(dir))
	}()

	if err := sh.build(); err != nil {
		return err
	}
	began := time.Now()
	for i, step := range steps {
		fmt.Printf("\n%d. %s\n\n", i+1, step.title)
		err := step.do(sh)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			sh.fail("step %d: %w; the tour ends here", i+1, err)
			break
		}
	}
	if len(sh.wrong) > 0 {
		return fmt.Errorf("%d wrong\n%w", len(sh.wrong), errors.Join(sh.wrong...))
	}
	fmt.Printf("\nEvery answer was right. It took %d ms, and nothing is left behind.\n", time.Since(began).Milliseconds())
	return nil
}

func (sh *shell) build() error {
	sh.prompt("go build -o %s %s", sh.path("echod"), program)
	build := exec.CommandContext(sh.ctx, "go", "build", "-o", sh.path("echod"), program)
	build.Env = append(os.Environ(), "GOTMPDIR="+sh.dir)
	// KILL would orphan the compilers.
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) }
	build.WaitDelay = patience
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	sh.prompt("cd %s; alias echod='./echod -pidfile echod.pid -log echod.log'", sh.dir)
	return nil
}

// start starts echod in the background.
func (sh *shell) start() error {
	sh.echod("start", 0, "echod: ready (pid ")
	return sh.find()
}

// find finds the echod in the background, and reads its address from its log.
func (sh *shell) find() error {
	process, err := lifecycle.Find(sh.path("echod.pid"))
	if err != nil {
		return err
	}
	sh.letGo()
	sh.echo = &daemon{Process: process}
	listening := sh.log("msg=listening")
	_, addr, found := strings.Cut(listening, "addr=")
	if !found {
		return errors.New("the log does not contain the address of echod")
	}
	sh.echo.url = "http://" + addr
	return nil
}

func (sh *shell) letGo() {
	if sh.echo != nil {
		sh.echo.Close()
	}
}

// cleanUp ends an echod in the background that still runs after a wrong answer or Ctrl-C.
func (sh *shell) cleanUp() error {
	sh.letGo()
	left, err := lifecycle.Find(sh.path("echod.pid"))
	if errors.Is(err, lifecycle.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer left.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return left.Kill(ctx)
}

func (d *daemon) gone() bool {
	_, err := d.Status()
	return errors.Is(err, lifecycle.ErrNotRunning)
}

func (sh *shell) pid() int { return sh.echo.PID }

func (sh *shell) kill9() error {
	sh.prompt("kill -9 %d", sh.pid())
	ctx, cancel := context.WithTimeout(sh.ctx, patience)
	defer cancel()
	return sh.echo.Kill(ctx)
}

// command prints and prepares `echod VERB`. The verb may include flags.
func (sh *shell) command(ctx context.Context, verb, suffix string) *exec.Cmd {
	sh.prompt("echod %s", strings.TrimSpace(verb+" "+suffix))
	args := append([]string{"-pidfile", "echod.pid", "-log", "echod.log"}, strings.Fields(verb)...)
	cmd := exec.CommandContext(ctx, sh.path("echod"), args...)
	cmd.Dir = sh.dir
	return cmd
}

// echod runs a verb and expects this exit code and an answer with this prefix.
func (sh *shell) echod(verb string, code int, answer string) {
	ctx, cancel := context.WithTimeout(sh.ctx, patience)
	defer cancel()
	out, err := sh.command(ctx, verb, "").CombinedOutput()
	sh.exited(verb, code, answer, out, err)
}

// background runs a verb in the background. The function that it returns waits for the end and
// takes the expected exit code and prefix of the answer.
func (sh *shell) background(verb string) func(code int, answer string) {
	ctx, cancel := context.WithTimeout(sh.ctx, patience)
	cmd := sh.command(ctx, verb, "&")
	var out []byte
	var err error
	done := make(chan struct{})
	go func() {
		out, err = cmd.CombinedOutput()
		close(done)
	}()
	return func(code int, answer string) {
		defer cancel()
		<-done
		sh.exited(verb, code, answer, out, err)
	}
}

func (sh *shell) exited(verb string, code int, answer string, out []byte, err error) {
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		sh.fail("echod %s: %w", verb, err)
		return
	}
	show(string(out))
	show(fmt.Sprintf("(exit %d)", got))
	if got != code || !strings.HasPrefix(string(out), answer) {
		sh.fail("echod %s: exit code %d and %q, want %d and %q", verb, got, out, code, answer)
	}
}

// log shows the log of the echod in the background, up to the first record that contains all these
// texts. It returns that record.
func (sh *shell) log(texts ...string) (record string) {
	for deadline := time.Now().Add(patience); ; {
		// Check the end before reading the file. The last read then finds all records.
		last := sh.echo.gone() || time.Now().After(deadline)
		data, err := os.ReadFile(sh.path("echod.log"))
		if err != nil {
			sh.fail("log: %w", err)
			return ""
		}
		for line := range bytes.Lines(data[sh.logged:]) {
			if !bytes.HasSuffix(line, []byte("\n")) {
				break // an incomplete line
			}
			sh.logged += len(line)
			record := strings.TrimSpace(string(line))
			_, record, _ = strings.Cut(record, " ") // without the time
			show(record)
			if containsAll(strings.ReplaceAll(record, `\"`, `"`), texts) {
				return record
			}
		}
		if last || !sh.pause() {
			sh.fail("log: no record with %q", texts)
			return ""
		}
	}
}

// pause waits briefly before the caller checks a condition again. It returns false if the tour was
// interrupted.
func (sh *shell) pause() bool {
	select {
	case <-time.After(2 * time.Millisecond):
		return true
	case <-sh.ctx.Done():
		return false
	}
}

func (sh *shell) write(name, text string) {
	if err := os.WriteFile(sh.path(name), []byte(text), 0o600); err != nil {
		sh.fail("%w", err)
	}
	sh.cat(name, text)
}

// edit replaces texts in the file. oldnew contains pairs of an old and a new text.
func (sh *shell) edit(name string, oldnew ...string) {
	var script []string
	for i := 0; i < len(oldnew); i += 2 {
		script = append(script, "s/"+oldnew[i]+"/"+oldnew[i+1]+"/")
	}
	sh.prompt("sed -i '%s' %s", strings.Join(script, "; "), name)
	data, err := os.ReadFile(sh.path(name))
	if err == nil {
		err = os.WriteFile(sh.path(name), []byte(strings.NewReplacer(oldnew...).Replace(string(data))), 0o600)
	}
	if err != nil {
		sh.fail("%w", err)
	}
}

// move renames a file. This is the first step of logrotate.
func (sh *shell) move(from, to string) {
	sh.prompt("mv %s %s", from, to)
	if err := os.Rename(sh.path(from), sh.path(to)); err != nil {
		sh.fail("%w", err)
	}
	sh.logged = 0
}

func (sh *shell) cat(name, want string) {
	sh.prompt("cat %s", name)
	data, err := os.ReadFile(sh.path(name))
	if err != nil || string(data) != want {
		sh.fail("cat %s: %q and %v, want %q", name, data, err, want)
	}
	show(string(data))
}

func (sh *shell) missing(name string) {
	sh.prompt("ls %s", name)
	_, err := os.Lstat(sh.path(name))
	if !errors.Is(err, fs.ErrNotExist) {
		sh.fail("%s is still there: %v", name, err)
		return
	}
	show("ls: " + name + ": No such file or directory")
}

func (sh *shell) path(name string) string { return filepath.Join(sh.dir, name) }

func (sh *shell) fail(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	sh.wrong = append(sh.wrong, err)
	show("WRONG: " + err.Error())
}

func (sh *shell) prompt(format string, args ...any) { fmt.Printf("$ "+format+"\n", args...) }

func show(text string) {
	for line := range strings.Lines(text) {
		fmt.Println("    " + strings.TrimRight(line, "\n"))
	}
}

func containsAll(s string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(s, text) {
			return false
		}
	}
	return true
}
