//go:build !unix

package main

import (
	"errors"
	"os"
)

func parseSignal(string) (os.Signal, error) { return nil, errors.ErrUnsupported }
