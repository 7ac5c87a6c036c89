package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
)

// What the pages say in tables and numbers, the code says too. These tests keep the two together.

const (
	lifePage    = "docs/life.md"
	pidFilePage = "docs/pidfile.md"
)

func readPage(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// columnsOf are the first columns of the first table after a text that has these heads.
func columnsOf(t *testing.T, path, after string, heads ...string) (rows []string) {
	t.Helper()
	_, text, found := strings.Cut(readPage(t, path), after)
	require.True(t, found, "%s says nowhere %q", path, after)
	head := "\n\n| " + strings.Join(heads, " | ") + " |"
	_, text, found = strings.Cut(text, head)
	require.True(t, found, "%s has no such table behind %q: %s", path, after, head)
	table, _, _ := strings.Cut(text, "\n\n")
	for _, row := range strings.Split(strings.TrimSpace(table), "\n")[2:] {
		cells := strings.SplitN(row, " | ", len(heads)+1)
		rows = append(rows, strings.TrimPrefix(strings.Join(cells[:len(heads)], " | "), "| "))
	}
	return rows
}

func TestDocsNameEveryHook(t *testing.T) {
	var want []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[lifecycle.Hooks]()) {
		if field.Type.Kind() == reflect.Func {
			want = append(want, "`"+field.Name+"`")
		}
	}
	want = append(want, "`ReadyWhen`", "`OnSignal`", "`Every`") // which are options of their own
	require.Equal(t, want, columnsOf(t, lifePage, "## Hooks", "hook"))
}

func TestDocsListTheFieldsOfTheStateFile(t *testing.T) {
	for after, of := range map[string]reflect.Type{
		"## The state file":       reflect.TypeFor[lifecycle.Status](),
		"A verdict is an object:": reflect.TypeFor[lifecycle.Verdict](),
		"An exit is an object:":   reflect.TypeFor[lifecycle.Exit](),
	} {
		var want []string
		for _, field := range reflect.VisibleFields(of) {
			if !field.IsExported() {
				continue
			}
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			want = append(want, "`"+name+"` | "+jsonText(t, field.Type))
		}
		require.Equal(t, want, columnsOf(t, pidFilePage, after, "field", "JSON"))
	}
}

// jsonText is how the page calls what a field becomes in JSON.
func jsonText(t *testing.T, of reflect.Type) string {
	t.Helper()
	text := map[reflect.Type]string{
		reflect.TypeFor[int]():                "number",
		reflect.TypeFor[string]():             "text",
		reflect.TypeFor[bool]():               "boolean",
		reflect.TypeFor[lifecycle.Phase]():    "text",
		reflect.TypeFor[time.Time]():          "time",
		reflect.TypeFor[time.Duration]():      "nanoseconds",
		reflect.TypeFor[*lifecycle.Verdict](): "verdict",
		reflect.TypeFor[*lifecycle.Exit]():    "exit",
		reflect.TypeFor[[]string]():           "list of texts",
	}[of]
	require.NotEmpty(t, text, "what a %v becomes", of)
	return text
}

// What the pages show as code and begins with a capital letter is an exported name of this package, unless the page is about another one.
func TestDocsNameOnlyWhatIsExported(t *testing.T) {
	exported := exportedNames(t)
	foreign := regexp.MustCompile(`^([A-Z_]+|Test\w+|Context|Reborn)$`)
	for _, path := range pages(t) {
		if strings.HasPrefix(path, "docs/coming-from/") {
			continue
		}
		for _, name := range regexp.MustCompile("`\\*?([A-Z][\\w.]*)(\\(.*?\\))?`").FindAllStringSubmatch(readPage(t, path), -1) {
			require.True(t, exported[name[1]] || foreign.MatchString(name[1]), "%s names %s", path, name[1])
		}
	}
}

// exportedNames are the exported names of this package, those of methods behind that of their type.
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
