//go:build !unix

package readyfd

import "errors"

func take(int) (*Descriptor, error) { return nil, errors.ErrUnsupported }

func (d *Descriptor) tell() error { return errors.ErrUnsupported }

func (d *Descriptor) close() {}
