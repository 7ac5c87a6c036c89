//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd

package pin

import "errors"

func hold(int) (process, error) {
	return nil, errors.ErrUnsupported
}
