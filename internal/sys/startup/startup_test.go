package startup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheArgumentsAreThoseOfTheProcess(t *testing.T) {
	for what, tt := range map[string]struct{ now, kernel, want []string }{
		"unchanged":                {[]string{"p", "a"}, []string{"p", "a"}, []string{"p", "a"}},
		"an empty one":             {[]string{"p", ""}, []string{"p", ""}, []string{"p", ""}},
		"one cut out":              {[]string{"p", "b"}, []string{"p", "a", "b"}, []string{"p", "a", "b"}},
		"one added":                {[]string{"p", "a", "b"}, []string{"p", "a"}, []string{"p", "a"}},
		"another name":             {[]string{"q", "a"}, []string{"p", "a"}, []string{"p", "a"}},
		"all cut out":              {nil, []string{"p", "a"}, []string{"p", "a"}},
		"executed by a loader":     {[]string{"./p", "a"}, []string{"/lib/ld.so", "./p", "a"}, []string{"./p", "a"}},
		"the kernel says nothing":  {[]string{"p", "a"}, nil, []string{"p", "a"}},
		"executed without any one": {nil, nil, nil},
	} {
		require.Equal(t, tt.want, choose(tt.now, tt.kernel), what)
	}
	require.Equal(t, os.Args, Args())
}

func TestARelativePathMeansTheDirectoryOfTheStart(t *testing.T) {
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
