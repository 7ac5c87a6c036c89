//go:build !unix || aix

package sdnotify

import "errors"

func dial(string) (*Socket, error) { return nil, errors.ErrUnsupported }
