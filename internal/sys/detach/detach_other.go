//go:build !unix || aix

package detach

import (
	"errors"
	"os"
)

func start(Spec, <-chan struct{}) (*Peer, error) { return nil, errors.ErrUnsupported }

func redirect(*os.File, int) error { return errors.ErrUnsupported }

func umask(int) {}
