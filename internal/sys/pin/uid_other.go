//go:build !darwin && !linux

package pin

import "errors"

func effectiveUID(int) (int, error) {
	return -1, errors.ErrUnsupported
}
