package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest/pagetest"
)

// Package conformance runs the files that the guides show. Each block after the name of a file must
// be that file, and the guides must show all files.
func TestTheGuidesShowTheFilesOfDeployUnchanged(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	block := regexp.MustCompile("(?s)\\[`(_example/deploy/[^`]+)`\\]\\(\\.\\./([^)]+)\\):\n\n```\\w*\n(.*?)```\n")
	for _, page := range []string{"docs/systemd.md", "docs/containers.md", "docs/logrotate.md"} {
		for _, found := range block.FindAllStringSubmatch(pagetest.Read(t, page), -1) {
			name, target, text := found[1], found[2], found[3]
			require.Equal(t, name, target, page)
			file, err := os.ReadFile(name)
			require.NoError(t, err, page)
			require.Equal(t, string(file), text, "%s shows another %s", page, name)
			shown[name] = true
		}
	}
	require.NoError(t, filepath.WalkDir("_example/deploy", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) != ".json" {
			require.True(t, shown[filepath.ToSlash(path)], "no guide shows %s", path)
		}
		return err
	}))
}
