// Upgrade measures what clients notice of an upgrade: of this library, and of nginx, HAProxy and
// tableflip, in one run and with the same clients.
//
//	go run . -upgrades 100 -page ../README.md
//
// A thousand requests a second arrive while one upgrade follows another. Half of them use a new
// connection each, the other half use connections that the clients keep. A request fails if it gets
// no answer, or an answer that is not the content of a version. The clients are ordinary clients,
// except that they never send a request twice.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"
)

// The table is between these lines of the page.
const (
	begin = "<!-- table: make bench-upgrade -->\n"
	end   = "<!-- end of the table -->\n"
)

func main() {
	upgrades := flag.Int("upgrades", 100, "the number of upgrades of each server")
	rate := flag.Int("rate", 1000, "requests a second")
	only := flag.String("only", "", "measure only this server")
	page := flag.String("page", "", "write the table into this file")
	flag.Parse()
	dir, err := os.MkdirTemp("", "upgrade")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var rows []string
	for _, s := range servers() {
		if *only != "" && *only != s.name {
			continue
		}
		r, err := measure(s, dir, *upgrades, *rate)
		if err != nil {
			rows = append(rows, fmt.Sprintf("| %s | *not measured: %v* | | | | | | |", s.name, err))
			log.Println(s.name, err)
			continue
		}
		rows = append(rows, r.row(s.name))
		log.Println(r.row(s.name))
	}
	table := fmt.Sprintf("\nMeasured on %s: %d upgrades of each, %d requests a second.\n\n", time.Now().Format(time.DateOnly), *upgrades, *rate) +
		"| server | failed | of | p50, ms | p99, ms | longest, ms | first answer of the new version, ms | memory while two run, MiB |\n" +
		"|---|---:|---:|---:|---:|---:|---:|---:|\n" + strings.Join(rows, "\n") + "\n\n"
	fmt.Print(table)
	if *page != "" {
		if err := write(*page, table); err != nil {
			log.Fatal(err)
		}
	}
}

func write(path, table string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %q and %q", path, begin, end)
	}
	return os.WriteFile(path, []byte(before+begin+table+end+after), 0o644)
}
