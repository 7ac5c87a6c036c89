//go:build !linux

package sdnotify

import "errors"

func listen() (*Server, error) { return nil, errors.ErrUnsupported }

func (s *Server) receive() (Message, error) { return Message{}, errors.ErrUnsupported }
