//go:build !unix || aix

package sdnotify

import (
	"errors"
	"os"
)

func (s *Socket) sendFiles([]*os.File, string) error { return errors.ErrUnsupported }

func dial(string) (*Socket, error) { return nil, errors.ErrUnsupported }
