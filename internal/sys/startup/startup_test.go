package startup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheArgumentsAreTheArgumentsOfTheProcess(t *testing.T) {
	for what, tt := range map[string]struct{ now, kernel, want, interpreter []string }{
		"unchanged":                {[]string{"p", "a"}, []string{"p", "a"}, []string{"p", "a"}, nil},
		"an empty one":             {[]string{"p", ""}, []string{"p", ""}, []string{"p", ""}, nil},
		"one cut out":              {[]string{"p", "b"}, []string{"p", "a", "b"}, []string{"p", "a", "b"}, nil},
		"one added":                {[]string{"p", "a", "b"}, []string{"p", "a"}, []string{"p", "a"}, nil},
		"another name":             {[]string{"q", "a"}, []string{"p", "a"}, []string{"p", "a"}, nil},
		"all cut out":              {nil, []string{"p", "a"}, []string{"p", "a"}, nil},
		"executed by a loader":     {[]string{"./p", "a"}, []string{"/lib/ld.so", "./p", "a"}, []string{"./p", "a"}, []string{"/lib/ld.so"}},
		"and by another name":      {[]string{"q", "a"}, []string{"ld.so", "--argv0", "q", "./p", "a"}, []string{"q", "a"}, []string{"ld.so", "--argv0", "q"}},
		"the kernel says nothing":  {[]string{"p", "a"}, nil, []string{"p", "a"}, nil},
		"executed without any one": {nil, nil, nil, nil},
	} {
		chosen, interpreter := choose(tt.now, tt.kernel)
		require.Equal(t, tt.want, chosen, what)
		require.ElementsMatch(t, tt.interpreter, interpreter, what)
	}
	require.Equal(t, os.Args, Args())
}

func TestARelativePathIsRelativeToTheDirectoryOfTheStart(t *testing.T) {
	began, err := os.Getwd()
	require.NoError(t, err)
	require.Empty(t, ChildDir())
	t.Chdir(t.TempDir())
	path, err := Abs("../x")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(filepath.Dir(began), "x"), path)
	path, err = Abs("/a/../b")
	require.NoError(t, err)
	require.Equal(t, "/b", path)
	require.Equal(t, began, ChildDir())
}
