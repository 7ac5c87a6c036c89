// Command cycles prints which files of a package refer to each other in a cycle.
//
//	go run ./cycles DIR [LIMIT]
//
// It type-checks the package in DIR without its tests. One file refers to another if it uses a name
// that the other declares. The command prints each strongly connected set of more than one file,
// the largest first. It fails if the largest has more files than LIMIT.
package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: cycles DIR [LIMIT]")
		os.Exit(2)
	}
	uses, err := references(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "cycles:", err)
		os.Exit(1)
	}
	sets := components(uses)
	slices.SortStableFunc(sets, func(a, b []string) int { return cmp.Compare(len(b), len(a)) })
	fmt.Printf("%d files; the largest circle has %d\n", len(uses), len(sets[0]))
	for _, set := range sets {
		if len(set) > 1 {
			fmt.Printf("%3d  %s\n", len(set), strings.Join(set, " "))
		}
	}
	if len(os.Args) == 3 {
		limit, err := strconv.Atoi(os.Args[2])
		if err != nil || len(sets[0]) > limit {
			fmt.Fprintf(os.Stderr, "cycles: the largest circle must have at most %s files\n", os.Args[2])
			os.Exit(1)
		}
	}
}

// references returns, for each file of the package in dir, the files whose names it uses.
func references(dir string) (map[string][]string, error) {
	mode := packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedSyntax |
		packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports | packages.NeedDeps
	loaded, err := packages.Load(&packages.Config{Mode: mode, Dir: dir}, ".")
	if err != nil {
		return nil, err
	}
	pkg := loaded[0]
	if len(pkg.Errors) > 0 {
		return nil, pkg.Errors[0]
	}
	uses := map[string][]string{}
	for _, file := range pkg.Syntax {
		uses[filepath.Base(pkg.Fset.Position(file.Package).Filename)] = nil
	}
	for name, object := range pkg.TypesInfo.Uses {
		if object.Pkg() != pkg.Types {
			continue
		}
		from := filepath.Base(pkg.Fset.Position(name.Pos()).Filename)
		to := filepath.Base(pkg.Fset.Position(object.Pos()).Filename)
		if from != to && !slices.Contains(uses[from], to) {
			uses[from] = append(uses[from], to)
		}
	}
	if len(uses) == 0 {
		return nil, fmt.Errorf("no Go files in %s", dir)
	}
	return uses, nil
}

// components returns the strongly connected components of a graph (Tarjan, "Depth-first search and
// linear graph algorithms").
func components(edges map[string][]string) (sets [][]string) {
	index, low, onStack := map[string]int{}, map[string]int{}, map[string]bool{}
	var stack []string
	var visit func(node string)
	visit = func(node string) {
		index[node] = len(index) + 1
		low[node] = index[node]
		stack, onStack[node] = append(stack, node), true
		for _, next := range edges[node] {
			if index[next] == 0 {
				visit(next)
				low[node] = min(low[node], low[next])
			} else if onStack[next] {
				low[node] = min(low[node], index[next])
			}
		}
		if low[node] != index[node] {
			return
		}
		at := slices.Index(stack, node)
		set := slices.Sorted(slices.Values(stack[at:]))
		for _, member := range set {
			onStack[member] = false
		}
		stack, sets = stack[:at], append(sets, set)
	}
	for _, node := range slices.Sorted(maps.Keys(edges)) {
		if index[node] == 0 {
			visit(node)
		}
	}
	return sets
}
