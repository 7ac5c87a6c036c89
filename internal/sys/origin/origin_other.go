//go:build !linux

package origin

import (
	"errors"
	"os"
)

func keep(Origin) (*os.File, error) { return nil, errors.ErrUnsupported }

func runs(int, []string) bool { return false }

func of(int, string) (Origin, error) { return Origin{}, errors.ErrUnsupported }
