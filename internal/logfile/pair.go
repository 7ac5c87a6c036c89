package logfile

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"example.com/lifecycle/internal/sys/privilege"
	"example.com/lifecycle/internal/sys/safefile"
)

// Pair holds the open logs of stdout and stderr. They may be the same file. A nil file means
// /dev/null.
type Pair struct {
	Stdout, Stderr *os.File
	ModeErrs       []ModeError // of new logs with another mode

	path   string // of Stderr
	owner  *privilege.Identity
	opened fs.FileInfo // of Stderr, with its size when it was opened

	created map[string]*os.File // new logs by their path
}

// Error is an error of the log file at Path.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ModeError reports that the log at Path has that mode and not the wanted one.
type ModeError struct {
	Path string
	Mode fs.FileMode
	Err  error
}

// OpenPair opens the log of stdout, and the log of stderr if stderr is not "". If stderr is "",
// both use the log of stdout. If both are "", OpenPair opens no log. Each new log gets that mode.
// Errors are of type [*Error]. If the log of stderr cannot be opened, OpenPair removes a log of
// stdout that it has created.
func OpenPair(stdout, stderr string, mode fs.FileMode, owner *privilege.Identity) (*Pair, error) {
	p := &Pair{path: stdout, owner: owner, created: map[string]*os.File{}}
	if stdout != "" {
		log, err := Open(stdout, mode, owner)
		if err != nil {
			return nil, &Error{stdout, err}
		}
		p.Stdout, p.Stderr = log.File, log.File
		p.add(stdout, log)
	}
	if stderr != "" {
		p.path = stderr
		log, err := Open(stderr, mode, owner)
		if err != nil {
			if removeErr := p.RemoveEmpty(); removeErr != nil {
				err = errors.Join(err, removeErr)
			}
			p.Close()
			return nil, &Error{stderr, err}
		}
		p.Stderr = log.File
		p.add(stderr, log)
	}
	if p.Stderr != nil {
		var err error
		if p.opened, err = p.Stderr.Stat(); err != nil {
			p.Close()
			return nil, &Error{p.path, err}
		}
	}
	return p, nil
}

func (p *Pair) add(path string, log *Log) {
	if log.Created {
		p.created[path] = log.File
	}
	if log.ModeErr == nil {
		return
	}
	e := ModeError{Path: path, Err: log.ModeErr}
	if info, err := log.Stat(); err == nil {
		e.Mode = info.Mode()
	}
	p.ModeErrs = append(p.ModeErrs, e)
}

// RemoveEmpty removes the logs that OpenPair has created and that are still empty. After a failed
// start, the caller calls it before Close.
func (p *Pair) RemoveEmpty() error {
	var errs []error
	for path, f := range p.created {
		if info, err := f.Stat(); err == nil && info.Size() == 0 {
			errs = append(errs, safefile.Remove(f, path))
		}
	}
	return errors.Join(errs...)
}

// Close closes the files.
func (p *Pair) Close() {
	for _, f := range []*os.File{p.Stdout, p.Stderr} {
		if f != nil {
			f.Close()
		}
	}
}

const maxTail = 64 << 10

// Tail returns the text that was written to the log of stderr since OpenPair, at most the last 64
// KiB. It works even after Close.
func (p *Pair) Tail() string {
	if p.Stderr == nil {
		return ""
	}
	as, err := trust(p.path, p.owner)
	if err != nil {
		return ""
	}
	f, err := safefile.OpenAs(p.path, as) // Stderr is write-only
	if err != nil {
		return ""
	}
	defer f.Close()
	if safefile.Still(f, p.opened) != nil {
		return "" // a user who can write the directory has replaced the file
	}
	start := p.opened.Size()
	if info, err := f.Stat(); err == nil {
		start = max(start, info.Size()-maxTail)
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, start, maxTail))
	return string(text)
}
