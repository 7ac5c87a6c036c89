//go:build !linux

package takeover

import "errors"

func execute(func(func()), Spec) error { return errors.ErrUnsupported }
