package worker

import (
	"fmt"
	"os"

	"example.com/lifecycle/internal/sys/ctlsock"
)

func (r *running) freeze() (State, []*os.File, error) {
	r.awaitOrders()
	r.reaping.Lock()
	s, files, err := r.frozen()
	if err != nil {
		r.reaping.Unlock()
	}
	return s, files, err
}

// frozen returns the state. The caller holds r.reaping.
func (r *running) frozen() (s State, files []*os.File, err error) {
	if r.reaped {
		return s, nil, os.ErrProcessDone
	}
	begun := r.told
	if r.isProgram {
		begun = r.heard // Executed closes it
	}
	select {
	case <-begun:
	default:
		return s, nil, ErrNotBegun
	}
	s = State{PID: r.process.Pid, Name: []byte(r.name)}
	if r.isProgram {
		return s, nil, nil
	}
	socket, conn, err := r.peer.Pause()
	if err != nil {
		return s, nil, err
	}
	r.talk.mu.Lock()
	defer r.talk.mu.Unlock()
	s.Socket, s.Hello = &socket, r.talk.greeted
	return s, []*os.File{conn}, nil
}

func (r *running) thaw() {
	if !r.isProgram {
		r.peer.Resume()
	}
	r.reaping.Unlock()
}

func adopt(s State, files []*os.File) (p *Process, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
		}
	}()
	isProgram := s.Socket == nil
	if want := 1; isProgram && len(files) != 0 || !isProgram && len(files) != want {
		return nil, fmt.Errorf("cannot adopt process %d with %d files", s.PID, len(files))
	}
	o := &Spec{Args: []string{string(s.Name)}}
	if isProgram {
		o.Program = o.Args[0]
	}
	forks() // before any goroutine waits in the first thread
	p = &Process{PID: s.PID, running: newRunning(nil, o)}
	close(p.told)
	// The PID still belongs to the process, because no code can have reaped the process. The pidfd of
	// the os.Process also tells package reaper that the process is no orphan.
	if p.process, err = os.FindProcess(s.PID); err != nil {
		return nil, err
	}
	if isProgram {
		p.endDialogue()
		close(p.heard)
		return p, nil
	}
	p.peer = ctlsock.ResumePeer(files[0], *s.Socket)
	if s.Hello != nil {
		p.talk.greeted = s.Hello
		p.greetings <- *s.Hello
	}
	go p.hear()
	return p, nil
}
