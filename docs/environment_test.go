package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest/pagetest"
	"example.com/lifecycle/internal/sys/secureenv"
)

// readsEnvironment maps each function that reads variables to the files that may call it:
// secureenv, and code that passes the environment to a program that it executes.
var readsEnvironment = map[string][]string{
	"os.Getenv":    {"internal/sys/secureenv/secureenv.go"},
	"os.LookupEnv": nil, "os.ExpandEnv": nil, "os.TempDir": nil,
	"os.UserHomeDir": nil, "os.UserConfigDir": nil, "os.UserCacheDir": nil,
	"syscall.Getenv": nil, "syscall.Environ": nil, "unix.Getenv": nil, "unix.Environ": nil,
	"user.Current": nil,
	"os.Environ": {
		"internal/sys/secureenv/secureenv.go", "internal/sys/detach/start_unix.go", "internal/sys/detach/stage_unix.go",
		"internal/sys/worker/start_linux.go", "internal/sys/worker/stage_linux.go", "internal/sys/worker/inherited_linux.go",
		"internal/sys/execve/execve_unix.go", "internal/sys/startup/program.go",
		"user.go",
	},
	"exec.LookPath": {"supervise.go", "internal/sys/worker/stage_linux.go"}, // secureenv replaces PATH
}

func TestOnlySecureenvReadsVariablesAndAllAreListed(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, v := range secureenv.Variables {
		require.False(t, listed[v.Name], v.Name)
		listed[v.Name] = true
	}
	named := map[string]bool{}
	for path, file := range librarySources(t) {
		for _, call := range selectors(file) {
			if where, forbidden := readsEnvironment[call]; forbidden {
				require.Contains(t, where, path, "%s: take internal/sys/secureenv instead of %s", path, call)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && strings.HasPrefix(nameOfCall(call), "secureenv.") && len(call.Args) == 1 {
				if name, ok := literal(call.Args[0]); ok {
					require.True(t, listed[name], "%s reads %s, which secureenv.Variables does not list", path, name)
				}
			}
			if name, ok := literal(n); ok && listed[name] && path != "internal/sys/secureenv/secureenv.go" {
				named[name] = true
			}
			return true
		})
	}
	for name := range listed {
		if !slices.Contains([]string{"PATH", "TZ", "_GO_DAEMON"}, name) { // other packages read them
			require.True(t, named[name], "nothing reads %s", name)
		}
	}
}

func TestDocsListEveryVariable(t *testing.T) {
	rows := []string{"| variable | what it is read for | in a process with more rights than its caller |", "|---|---|---|"}
	for _, v := range secureenv.Variables {
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", v.Name, v.Use, v.Rule))
	}
	rows = append(rows, "| `"+strings.Join(secureenv.Unsecure, "`, `")+"` | nothing | removed before `main`, as ld.so(8) does |")
	pagetest.RequireTable(t, "docs/security.md", "Variables of secureenv.go", rows...)
}

// librarySources returns, by path, the files that are compiled into a program that imports the
// library.
func librarySources(t *testing.T) map[string]*ast.File {
	t.Helper()
	all := map[string]*ast.File{}
	elsewhere := []string{"bench", "tools", "conformance", "docs", "e2e", "proctest", "testdata"}
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && len(name) > 1 && (strings.ContainsRune("._", rune(name[0])) || slices.Contains(elsewhere, name)):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		all[filepath.ToSlash(path)] = file
		return err
	}))
	require.Greater(t, len(all), 50)
	return all
}

// selectors returns the qualified names that the file uses, such as "os.Getenv".
func selectors(file *ast.File) (all []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if of, ok := s.X.(*ast.Ident); ok {
				all = append(all, of.Name+"."+s.Sel.Name)
			}
		}
		return true
	})
	return all
}

func nameOfCall(call *ast.CallExpr) string {
	if s, ok := call.Fun.(*ast.SelectorExpr); ok {
		if of, ok := s.X.(*ast.Ident); ok {
			return of.Name + "." + s.Sel.Name
		}
	}
	return ""
}

func literal(n ast.Node) (text string, ok bool) {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}
