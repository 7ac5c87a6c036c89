package lifecycle

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// With package net, every program with cgo is a dynamic one, and each start takes longer.
func TestADaemonWithoutANetworkDoesNotLinkPackageNet(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	packages := strings.Fields(string(out))
	require.Contains(t, packages, "example.com/lifecycle")
	require.NotContains(t, packages, "net")
	require.NotContains(t, packages, "os/user")
	require.NotContains(t, packages, "runtime/cgo")
}
