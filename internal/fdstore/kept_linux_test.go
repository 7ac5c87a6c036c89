package fdstore

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/activation"
)

func TestKeptReturnsStoredFilesOnceAndOldestFirst(t *testing.T) {
	var s store
	stage := Starting
	names := []string{"file:20:a", "tcp::80", "file:3:a", "file:100:a", "file:4:b", "file:x:a", "file:5"}
	for i := range names {
		names[i] = activation.Name(names[i])
	}
	fresh(t, &stage, s.manager(9), names...)
	require.Len(t, Unclaimed(), 3, "two of them are not stored files")
	files := Kept("a")
	require.Len(t, files, 3)
	require.Empty(t, Kept("a"), "each file once")
	require.Empty(t, Kept("c"))
	for _, f := range files {
		require.Equal(t, "a", f.Name())
		require.NoError(t, f.Close())
	}
	require.NoError(t, Keep("a", nil))
	require.Equal(t, []string{"remove file%3A3%3Aa", "remove file%3A20%3Aa", "remove file%3A100%3Aa"}, s.told)
	require.NoError(t, Keep("b", nil), "the program has not taken this file")
	require.Empty(t, Kept("b"))
}

func TestKeepStoresEachFileUnderANewKeyWhileThereIsRoom(t *testing.T) {
	var s store
	stage := Starting
	fresh(t, &stage, s.manager(2))
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	longest := strings.Repeat("\n", maxKept)
	require.NoError(t, Keep(longest, r))
	require.NoError(t, Keep(longest, w))
	require.EqualError(t, Keep("x", w), "the service manager keeps at most 2 descriptors")
	require.Len(t, s.told, 2)
	require.NotEqual(t, s.told[0], s.told[1])
	for _, told := range s.told {
		name, _, ok := parseKept(strings.TrimPrefix(told, "store "))
		require.True(t, ok)
		require.Equal(t, longest, name)
	}
	require.NoError(t, Keep(longest, nil))
	require.Len(t, s.told, 4)
	require.NoError(t, Keep("x", w), "there is room again")
	require.EqualError(t, Keep("", w), "the name has 0 bytes, but must have 1 to 64")
	require.EqualError(t, Keep(longest+"x", w), "the name has 65 bytes, but must have 1 to 64")
	device, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer device.Close()
	require.ErrorContains(t, Keep("x", device), "it is not a socket")
}
