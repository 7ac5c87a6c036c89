package docs

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documentation returns the documentation of the package in this directory, with its examples.
func documentation(t *testing.T, dir, path string) *doc.Package {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	set := token.NewFileSet()
	var parsed []*ast.File
	for _, file := range files {
		source, err := parser.ParseFile(set, file, nil, parser.ParseComments)
		require.NoError(t, err)
		parsed = append(parsed, source)
	}
	d, err := doc.NewFromFiles(set, parsed, path)
	require.NoError(t, err)
	return d
}

// The last sentence of the doc comment of an option states the default.
func TestTheCommentOfEveryOptionEndsWithItsDefault(t *testing.T) {
	for _, of := range documentation(t, ".", "example.com/lifecycle").Types {
		if of.Name != "Option" {
			continue
		}
		require.NotEmpty(t, of.Funcs)
		for _, option := range of.Funcs {
			said := strings.Join(strings.Fields(option.Doc), " ")
			at := strings.LastIndex(said, "By default, ")
			require.GreaterOrEqual(t, at, 0, "%s does not say its default", option.Name)
			require.NotContains(t, said[at:], ". ", "%s says more behind its default", option.Name)
		}
	}
}

// withoutExample maps exported names without their own example to the place that shows them.
var withoutExample = map[string]string{
	"Args":                "Ensure",
	"NotRunningError":     "Find",
	"Status":              "Process_Status",
	"Chroot":              "User",
	"ErrorLogFile":        "LogFile",
	"LogFileMode":         "LogFile",
	"Umask":               "LogFile",
	"WorkDir":             "LogFile",
	"Life":                "From",
	"Life_Phase":          "Phase",
	"Process_Close":       "Find",
	"Process_Kill":        "Process_Stop",
	"Process_Signal":      "OnSignal, by way of os.Process",
	"Phase_String":        "Phase",
	"Phase_MarshalText":   "json",
	"Phase_UnmarshalText": "json",
	"Exit":                "Supervise",
	"RestartPolicy":       "Supervise",
	"Verdict_Err":         "Verdict",
	"Failure":             "Verdict",
	"Failure_Err":         "Verdict",
	"Upgrade":             "Process_Upgrade",
	"Upgrade_Err":         "Process_Upgrade",
	"Draining":            "Process_Upgrade",
	"OtherWorker":         "Status",
	"NoOverlap":           "DrainTimeout",
}

func TestTheImportantNamesHaveExamples(t *testing.T) {
	d := documentation(t, ".", "example.com/lifecycle")
	var missing []string
	look := func(name string, examples []*doc.Example) {
		if _, excused := withoutExample[name]; len(examples) == 0 && !excused {
			missing = append(missing, name)
		}
	}
	for _, f := range d.Funcs {
		look(f.Name, f.Examples)
	}
	for _, of := range d.Types {
		look(of.Name, of.Examples)
		for _, f := range of.Funcs {
			look(f.Name, f.Examples)
		}
		for _, m := range of.Methods {
			if m.Name != "Error" && m.Name != "Unwrap" && m.Name != "ExitCode" {
				look(of.Name+"_"+m.Name, m.Examples)
			}
		}
	}
	require.Empty(t, missing)
}
