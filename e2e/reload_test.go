package e2e

import (
	"context"
)

func started(context.Context) error { return nil }
