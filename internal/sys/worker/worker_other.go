//go:build !linux

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"
)

func start(Spec) (*Process, error) { return nil, errors.ErrUnsupported }

type running struct{}

func (running) signal(os.Signal) error { return errors.ErrUnsupported }

func (running) wait() (*os.ProcessState, error) { return nil, errors.ErrUnsupported }

func (running) executed(context.Context) error { return errors.ErrUnsupported }

func (running) words() string { return "" }

func (running) hello() <-chan Hello { return nil }

func (running) replace() error { return errors.ErrUnsupported }

func (running) notLast() error { return errors.ErrUnsupported }

func (running) askAdopt(context.Context, json.RawMessage) error { return errors.ErrUnsupported }

func (running) freeze() (State, []*os.File, error) { return State{}, nil, errors.ErrUnsupported }

func (running) thaw() {}

func adopt(State, []*os.File) (*Process, error) { return nil, errors.ErrUnsupported }

func (running) final() {}

func (running) close() {}

type line struct{}

func (line) take() (lost <-chan struct{}) { return nil }

func (line) isFinal(time.Duration) bool { return false }

func (line) isFollowed(time.Duration) bool { return false }

func (line) takeCrashes() error { return errors.ErrUnsupported }

func (line) sendHello(Hello) error { return errors.ErrUnsupported }

func (line) isReplaced() <-chan struct{} { return nil }

func (line) onAsk(func(json.RawMessage) error) {}

func onForkThread(f func()) { f() }
