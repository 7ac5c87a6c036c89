package pidfile

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"example.com/lifecycle/internal/filelock"
	"example.com/lifecycle/internal/safefile"
)

// Holder is what [Inspect] sees of a PID file. The locks decide; the number counts only where they
// leave a question.
type Holder struct {
	Held   bool
	Daemon bool // the holder uses this package, as far as can be seen
	Known  bool // the holder has said who it is
	PID    int  // of the holder; 0 while it is not known, or if it is in another PID namespace
	Number int  // in the file; 0 if its content is no PID
	Owner  int  // of the file, a user ID

	Guessed bool // PID is the number in the file, which the kernel does not confirm
}

var (
	// ErrNoPID is the cause where the holder has not said who it is.
	ErrNoPID = errors.New("held by a process that has not written its PID")
	// ErrOtherNamespace is the cause where no process of this PID namespace is the holder.
	ErrOtherNamespace = errors.New("held by a daemon in another PID namespace")
)

// Unidentified returns why the PID of the holder is not known. path is that of the file.
func (h Holder) Unidentified(path string) error {
	switch {
	case h.Daemon && h.Known:
		return ErrOtherNamespace
	case h.Daemon || h.Number == 0:
		return ErrNoPID
	}
	return otherHolder(path)
}

// Inspect returns who holds the PID file at path. It changes nothing. Nobody holds a missing file,
// and that is no error.
func Inspect(path string) (Holder, error) {
	held.mu.RLock()
	defer held.mu.RUnlock()
	owner, err := safefile.GuardRead(path)
	if err != nil {
		return Holder{}, err
	}
	if h, ours := held.holder(path); ours {
		return h, nil
	}
	f, err := safefile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Holder{}, nil
	}
	if err != nil {
		return Holder{}, err
	}
	defer f.Close()
	h, err := readHolder(f)
	if err == nil && owner >= 0 && h.Owner != owner {
		err = safefile.Unsafe("it was exchanged for one of user %d while it was looked at", h.Owner)
	}
	if err != nil {
		return Holder{}, err
	}
	return h, nil
}

// readHolder reads an open PID file.
func readHolder(f *os.File) (h Holder, err error) {
	info, err := f.Stat()
	if err != nil {
		return h, err
	}
	if err := safefile.CheckMode(info); err != nil {
		return h, err
	}
	var text []byte
	var readErr error
	read := func() { text, readErr = io.ReadAll(io.NewSectionReader(f, 0, maxSize+1)) }
	// The number in a free file must not be that of a daemon that came after the inspection, and
	// the number in a held file not that of a daemon that ended before it.
	state, err := filelock.InspectWith(f, read)
	if err == nil && state.Held {
		read()
	}
	if err = errors.Join(err, readErr); err != nil {
		return h, err
	}
	h = Holder{Held: state.Held, Number: parsePID(text), Owner: safefile.Owner(info)}
	switch {
	case !state.Held:
	case state.Owned:
		h.Daemon, h.Known, h.PID = true, true, state.PID
	case state.Present || state.NoMarks:
		h.Daemon, h.Known, h.PID = state.Present || h.Number != 0, h.Number != 0, h.Number
		h.Guessed = h.Known
	}
	return h, nil
}
