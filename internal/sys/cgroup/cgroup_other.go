//go:build !linux

package cgroup

import (
	"errors"
	"os"
	"time"
)

type tree struct{}

func own() (*Tree, error) { return nil, errors.ErrUnsupported }

func (tree) makeGroup(string) (*Group, error) { return nil, errors.ErrUnsupported }

func (tree) adopt(string) (*Group, error) { return nil, errors.ErrUnsupported }

func (tree) abandoned(string) []*Group { return nil }

func (tree) release() {}

type group struct {
	name string
	dir  *os.File
}

func (Process) signal(os.Signal) error { return errors.ErrUnsupported }

func (*group) each(func(Process), time.Time) error { return errors.ErrUnsupported }

func (*group) kill(time.Time) error { return errors.ErrUnsupported }

func (*group) populated() bool { return false }

func (*group) remove() error { return errors.ErrUnsupported }
