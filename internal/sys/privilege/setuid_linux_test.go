package privilege

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheVectorShowsWhetherTheProgramIsSetuid(t *testing.T) {
	t.Parallel()
	of := func(uid, euid, gid, egid, secure uintptr) vector {
		return vector{atUID: uid, atEUID: euid, atGID: gid, atEGID: egid, atSecure: secure, 6: 4096}
	}
	for what, tt := range map[string]struct {
		vector vector
		want   execution
	}{
		"plain":                             {of(7, 7, 8, 8, 0), execution{false, false}},
		"setuid":                            {of(7, 0, 8, 8, 1), execution{true, true}},
		"setgid":                            {of(7, 7, 8, 0, 1), execution{true, true}},
		"setgid, called by root":            {of(0, 0, 0, 8, 1), execution{true, true}},
		"setuid, called by root":            {of(0, 7, 0, 0, 1), execution{true, true}},
		"capabilities of the file":          {of(7, 7, 8, 8, 1), execution{true, false}},
		"a domain of its own, root's":       {of(0, 0, 0, 0, 1), execution{false, false}},
		"a domain of its own, another user": {of(7, 7, 0, 0, 1), execution{true, false}},
		"root executes itself":              {of(0, 0, 0, 0, 0), execution{false, false}},
	} {
		require.True(t, tt.vector.tells(), what)
		require.Equal(t, tt.want, tt.vector.execution(), what)
	}
	require.False(t, vector{}.tells())
	require.False(t, vector{atUID: 7, atEUID: 7, atGID: 7, atEGID: 7}.tells())
	require.False(t, vector(nil).tells())
}

func TestEverySourceOfTheVectorReturnsTheSame(t *testing.T) {
	t.Parallel()
	want := ofRuntime()
	require.True(t, want.tells())
	require.Equal(t, want, ofProc())
	if got := ofKernel(); got != nil { // Linux before 6.4 does not report it
		require.Equal(t, want, got)
	}
	for n, text := range map[int]string{0: "", 1: "x", 15: "123456789012345"} {
		require.Empty(t, parseVector([]byte(text)), n)
	}
}
