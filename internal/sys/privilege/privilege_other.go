//go:build !unix || aix

package privilege

import "errors"

func drop(string, *Identity) error { return errors.ErrUnsupported }
