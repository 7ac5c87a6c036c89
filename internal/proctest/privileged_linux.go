package proctest

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Grant gives the program at path more rights than its caller has, or skips the test if the file
// system cannot: give is [SetuidRoot] or the result of [Capability].
func Grant(t *testing.T, path string, give func(path string) error) {
	t.Helper()
	var info unix.Statfs_t
	require.NoError(t, unix.Statfs(filepath.Dir(path), &info))
	if info.Flags&unix.ST_NOSUID != 0 {
		t.Skip("the temporary directory is mounted nosuid")
	}
	if err := give(path); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("the file system knows no capabilities")
	} else {
		require.NoError(t, err)
	}
}

// SetuidRoot makes the program at path, which must belong to root, a setuid program.
func SetuidRoot(path string) error { return os.Chmod(path, 0o755|os.ModeSetuid) }

// Capability returns a function that gives a file that capability, as setcap(8) does: struct
// vfs_cap_data of linux/capability.h.
func Capability(capability int) func(path string) error {
	return func(path string) error {
		data := binary.LittleEndian.AppendUint32(nil, 0x02000001) // revision 2, effective
		for _, word := range []uint32{1 << capability, 0, 0, 0} {
			data = binary.LittleEndian.AppendUint32(data, word)
		}
		return unix.Setxattr(path, "security.capability", data, 0)
	}
}
