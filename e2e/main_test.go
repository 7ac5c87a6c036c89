package e2e

import (
	"testing"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// Most tests start the program daemon. Its arguments set the behaviour of its hooks.

func TestMain(m *testing.M) { proctest.Main(m, lifecycle.InDaemon()) }
