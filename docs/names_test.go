package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest/pagetest"
)

// These tests compare the tables and numbers in the pages with the code.

const (
	lifePage    = "docs/life.md"
	pidFilePage = "docs/pidfile.md"
)

func TestDocsNameEveryHook(t *testing.T) {
	var want []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[lifecycle.Hooks]()) {
		if field.Type.Kind() == reflect.Func {
			want = append(want, "`"+field.Name+"`")
		}
	}
	want = append(want, "`ReadyWhen`", "`OnSignal`", "`Every`") // these are separate options
	require.Equal(t, want, pagetest.Columns(t, lifePage, "## Hooks", "hook"))
}

func TestDocsListTheFieldsOfTheStateFile(t *testing.T) {
	for after, of := range map[string]reflect.Type{
		"## The state file":               reflect.TypeFor[lifecycle.Status](),
		"A verdict is an object:":         reflect.TypeFor[lifecycle.Verdict](),
		"An upgrade is an object.":        reflect.TypeFor[lifecycle.Upgrade](),
		"A worker beside the current one": reflect.TypeFor[lifecycle.OtherWorker](),
		"A drain is an object:":           reflect.TypeFor[lifecycle.Draining](),
		"An exit is an object:":           reflect.TypeFor[lifecycle.Exit](),
		"A failure is an object:":         reflect.TypeFor[lifecycle.Failure](),
	} {
		var want []string
		for _, field := range reflect.VisibleFields(of) {
			if !field.IsExported() || field.Anonymous {
				continue
			}
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			want = append(want, "`"+name+"` | "+jsonText(t, field.Type))
		}
		require.Equal(t, want, pagetest.Columns(t, pidFilePage, after, "field", "JSON"))
	}
}

// jsonText returns the name by which the page describes the JSON type of a field.
func jsonText(t *testing.T, of reflect.Type) string {
	t.Helper()
	text := map[reflect.Type]string{
		reflect.TypeFor[int]():                     "number",
		reflect.TypeFor[string]():                  "text",
		reflect.TypeFor[bool]():                    "boolean",
		reflect.TypeFor[lifecycle.Phase]():         "text",
		reflect.TypeFor[time.Time]():               "time",
		reflect.TypeFor[time.Duration]():           "nanoseconds",
		reflect.TypeFor[*lifecycle.Verdict]():      "verdict",
		reflect.TypeFor[*lifecycle.Exit]():         "exit",
		reflect.TypeFor[*lifecycle.Upgrade]():      "upgrade",
		reflect.TypeFor[[]lifecycle.Draining]():    "list of drains",
		reflect.TypeFor[[]lifecycle.OtherWorker](): "list of workers",
		reflect.TypeFor[*lifecycle.Failure]():      "failure",
		reflect.TypeFor[[]string]():                "list of texts",
	}[of]
	require.NotEmpty(t, text, "the JSON type of %v", of)
	return text
}

// Inline code in a page that begins with a capital letter must be an exported name of this package,
// unless the page is about another package.
func TestDocsNameOnlyExportedNames(t *testing.T) {
	exported := exportedNames(t)
	foreign := regexp.MustCompile(`^([A-Z_]+|Test\w+|Context|Reborn)$`)
	for _, path := range pages(t) {
		if strings.HasPrefix(path, "docs/coming-from/") {
			continue
		}
		for _, name := range regexp.MustCompile("`\\*?([A-Z][\\w.]*)(\\(.*?\\))?`").FindAllStringSubmatch(pagetest.Read(t, path), -1) {
			require.True(t, exported[name[1]] || foreign.MatchString(name[1]), "%s names %s", path, name[1])
		}
	}
}

// exportedNames returns the exported names of this package. A method has the name Type.Method.
func exportedNames(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	names := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, declaration := range source.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					receiver := d.Recv.List[0].Type
					if pointer, ok := receiver.(*ast.StarExpr); ok {
						receiver = pointer.X
					}
					name = receiver.(*ast.Ident).Name + "." + name
				}
				names[name] = ast.IsExported(d.Name.Name)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						names[s.Name.Name] = s.Name.IsExported()
						if of, ok := s.Type.(*ast.StructType); ok {
							for _, field := range of.Fields.List {
								for _, name := range field.Names {
									names[s.Name.Name+"."+name.Name] = name.IsExported()
								}
							}
						}
					case *ast.ValueSpec:
						for _, name := range s.Names {
							names[name.Name] = name.IsExported()
						}
					}
				}
			}
		}
	}
	return names
}
