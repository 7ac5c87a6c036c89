//go:build !linux

package sdnotify

import (
	"errors"
	"os"
)

func listen() (*Server, error) { return nil, errors.ErrUnsupported }

func listenPrivate(int) (*Server, error) { return nil, errors.ErrUnsupported }

func (s *Server) await() error { return errors.ErrUnsupported }

func (s *Server) next() (Message, error) { return Message{}, errors.ErrUnsupported }

func (s *Server) shutdown() {}

func room() int { return maxRoom }

func calm(*os.File) {}

// place is empty: this system has no Server.
type place struct{}

func (*place) remove() {}

func (*place) parts() (path string, lock *os.File) { return "", nil }

func adopt(State, []*os.File) (*Server, error) { return nil, errors.ErrUnsupported }

func canKeep(*os.File) error { return errors.ErrUnsupported }
