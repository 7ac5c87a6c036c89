package pidfile

import (
	"errors"
	"os"

	"example.com/lifecycle/internal/sys/filelock"
	"example.com/lifecycle/internal/sys/safefile"
)

// Holder is the result of [Inspect] for a PID file. Inspect reads it from the locks. It uses the
// number in the file only if the locks do not identify the holder.
type Holder struct {
	Held   bool
	Daemon bool // the locks show that the holder uses this package
	Known  bool // the holder has identified itself
	PID    int  // of the holder; 0 if unknown or in another PID namespace
	Number int  // the number in the file; 0 if the content is no PID
	Owner  int  // user ID of the owner of the file

	Other    bool // the holder is certainly another program
	otherPID int  // of that program; 0 if unknown
	unmarked bool // the system shows no marks, so the holder may be a daemon

	Guessed bool // PID is the number in the file, and the kernel does not confirm it
}

var (
	// ErrNoPID is the result of [Holder.Unidentified] if the holder has not written its PID.
	ErrNoPID = errors.New("held by a process that has not written its PID")
	// ErrOtherNamespace is the result of [Holder.Unidentified] if the holder is in another PID
	// namespace.
	ErrOtherNamespace = errors.New("held by a daemon in another PID namespace")
)

// Unidentified returns why the PID of the holder is unknown. path is the path of the file.
func (h Holder) Unidentified(path string) error {
	switch {
	case h.Daemon && h.Known:
		return ErrOtherNamespace
	case h.Daemon || h.unmarked:
		return ErrNoPID
	case h.Other:
		return &OtherHolderError{PID: h.otherPID, Name: programOf(h.otherPID)}
	}
	return otherHolder(path)
}

// Inspect returns the holder of the PID file at path. It changes nothing. A missing file has no
// holder and is no error. A file with other data than a PID is an error, unless a daemon has marked
// it.
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
	switch {
	case err == nil:
	case safefile.OutcomeOf(err) == safefile.Absent:
		return Holder{}, nil
	default:
		return Holder{}, err
	}
	defer f.Close()
	h, err := readHolder(f)
	if err == nil && owner >= 0 && h.Owner != owner {
		err = safefile.Unsafe("it was replaced by a file of user %d while it was read", h.Owner)
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
	look := func() { text, readErr = read(f) }
	// Read the number during the inspection of the lock, and again if the file is held. The number in
	// a free file is then not from a daemon that started after the inspection. The number in a held
	// file is then not from a daemon that ended before the inspection.
	state, err := filelock.InspectWith(f, look)
	if err == nil && state.Held {
		look()
	}
	if err != nil {
		return h, lockError(err)
	}
	if readErr != nil {
		return h, readErr
	}
	if !isPIDFile(text) && !state.Present {
		return h, errData
	}
	h = Holder{Held: state.Held, Number: parsePID(text), Owner: safefile.Owner(info)}
	h.unmarked = state.NoMarks
	switch {
	case !state.Held:
	case state.Other:
		h.Other, h.otherPID = true, state.PID
	case state.Owned:
		h.Daemon, h.Known, h.PID = true, true, state.PID
	case state.Present || state.NoMarks:
		h.Daemon, h.Known, h.PID = state.Present || h.Number != 0, h.Number != 0, h.Number
		h.Guessed = h.Known
	}
	return h, nil
}
