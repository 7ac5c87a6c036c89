//go:build !unix

package main

import (
	"errors"
	"os"
	"os/exec"
)

func parseSignal(string) (os.Signal, error) { return nil, errors.ErrUnsupported }

func killsGroup(*exec.Cmd) {}
