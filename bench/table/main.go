// Table writes the tables of a page from the output of the benchmarks, between two marker lines of
// the page:
//
//	go test -v -run '^$' -bench . ./bench | go run ./bench/table bench/README.md
//
// It copies its input to its output. If a benchmark has failed, it does not write the page.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// The tables are between these lines.
const (
	begin = "<!-- tables: make bench -->\n"
	end   = "<!-- end -->\n"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -v -run '^$' -bench . ./bench | table PAGE")
		os.Exit(2)
	}
	if err := write(os.Args[1], io.TeeReader(os.Stdin, os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func write(path string, output io.Reader) error {
	said, err := read(output)
	if err != nil {
		return err
	}
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %q and %q", path, begin, end)
	}
	var made strings.Builder
	said.machine(&made)
	said.goals(&made)
	for _, t := range tables {
		said.table(&made, t)
	}
	return os.WriteFile(path, []byte(before+begin+"\n"+made.String()+end+after), 0o644)
}

// results has the output of the benchmarks.
type results struct {
	about map[string]string // facts about the machine
	rows  []*row            // in the order of the output
}

// row has the output of one benchmark.
type row struct {
	group, name string
	metrics     map[string]float64
	skipped     string // the reason; "" if it was not skipped
}

// read reads the output of go test -v -bench.
func read(output io.Reader) (*results, error) {
	r := &results{about: map[string]string{}}
	var last string
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		line := lines.Text()
		fields := strings.Fields(line)
		key, value, isAbout := strings.Cut(line, ": ")
		switch {
		case strings.HasPrefix(line, "FAIL"), strings.Contains(line, "--- FAIL"), strings.HasPrefix(line, "panic:"):
			_, err := io.Copy(io.Discard, output) // reading to the end copies the rest
			return nil, errors.Join(fmt.Errorf("a benchmark has failed: %s", line), err)
		case strings.HasPrefix(line, "--- SKIP: Benchmark"):
			_, why, _ := strings.Cut(last, "go:")
			_, why, _ = strings.Cut(why, ": ")
			r.rows = append(r.rows, newRow(fields[2], why))
		case strings.HasPrefix(line, "Benchmark") && len(fields) >= 4:
			row := newRow(fields[0][:max(strings.LastIndexByte(fields[0], '-'), 0)], "")
			if err := row.measured(fields[2:]); err != nil {
				return nil, fmt.Errorf("%s: %w", line, err)
			}
			r.rows = append(r.rows, row)
		case isAbout && !strings.ContainsAny(key, " /"):
			r.about[key] = value
		}
		last = line
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(r.rows) == 0 {
		return nil, errors.New("no benchmark was run")
	}
	return r, nil
}

// newRow splits the name of a benchmark. testing has replaced its spaces by underscores.
func newRow(name, skipped string) *row {
	group, name, _ := strings.Cut(strings.TrimPrefix(name, "Benchmark"), "/")
	return &row{group: group, name: strings.ReplaceAll(name, "_", " "), metrics: map[string]float64{}, skipped: skipped}
}

// measured parses the pairs of a value and its unit.
func (r *row) measured(pairs []string) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		var value float64
		if _, err := fmt.Sscan(pairs[i], &value); err != nil {
			return err
		}
		r.metrics[pairs[i+1]] = value
	}
	return nil
}

// metric returns the value of a benchmark's metric. found is false if there is none.
func (r *results) metric(group, name, unit string) (value float64, found bool) {
	for _, row := range r.rows {
		if row.group == group && row.name == name {
			value, found = row.metrics[unit]
			return value, found
		}
	}
	return 0, false
}
