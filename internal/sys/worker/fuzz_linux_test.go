package worker

import (
	"encoding/json"
	"errors"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzStageError checks that any message of a stage is a failure, and that its text does not
// change.
func FuzzStageError(f *testing.F) {
	said, err := json.Marshal(newStageError(syscall.ENOENT))
	require.NoError(f, err)
	f.Add(said)
	f.Add([]byte(`{"error":"","errno":0}`))
	f.Add([]byte(`{"error":"x","errno":-1}`))
	f.Add([]byte(`{"error":"x","errno":18446744073709551615}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, said []byte) {
		err := parseStageError(said)
		require.Error(t, err)
		_ = err.Error()
		var errno syscall.Errno
		if errors.As(err, &errno) {
			require.NotZero(t, errno)
			_ = errno.Error()
		}
	})
}
