// Package cmdline parses a command line that consists of a verb and its flags. A table defines the
// verbs.
package cmdline

import (
	"fmt"
	"slices"
	"strings"
)

// Verb is one row of a [Table].
type Verb struct {
	Name, Short string
	Flags       []Flag
}

// Flag is a flag of a verb. Its name has no dashes.
type Flag struct{ Name, Short string }

func (f Flag) arg() string { return "--" + f.Name }

// takes reports whether the verb has the flag arg, given with its dashes.
func (v Verb) takes(arg string) bool {
	return slices.ContainsFunc(v.Flags, func(f Flag) bool { return f.arg() == arg })
}

// Table lists the verbs of a program.
type Table []Verb

// Names of verbs that can be given as flags too.
const (
	Help    = "help"    // also --help and -h, before or after another verb
	Version = "version" // also --version
)

func asksForHelp(arg string) bool { return arg == "--help" || arg == "-h" }

// Parse returns the name of the verb in args, and the names of the flags that follow the verb. The
// table must contain [Help]. The error is a message for the user who typed args.
func (t Table) Parse(args []string) (verb string, given map[string]bool, err error) {
	if len(args) == 0 {
		return "", nil, fmt.Errorf("no verb given")
	}
	name, rest := args[0], args[1:]
	switch {
	case name == Help || asksForHelp(name):
		return Help, nil, nil
	case name == "--"+Version:
		name = Version
	}
	at := slices.IndexFunc(t, func(v Verb) bool { return v.Name == name })
	switch {
	case at < 0:
		return "", nil, t.unknown(args[0])
	case slices.ContainsFunc(rest, asksForHelp):
		return Help, nil, nil
	}
	given = map[string]bool{}
	for _, arg := range rest {
		if !t[at].takes(arg) {
			return "", nil, t[at].refuse(arg)
		}
		given[strings.TrimPrefix(arg, "--")] = true
	}
	return name, given, nil
}

func (t Table) unknown(arg string) error {
	names := make([]string, len(t))
	for i, v := range t {
		names[i] = v.Name
	}
	switch near := Nearest(arg, names); {
	case near != "":
		return fmt.Errorf("unknown verb %s; did you mean %s?", arg, near)
	case slices.ContainsFunc(t, func(v Verb) bool { return v.takes(arg) }):
		return fmt.Errorf("unknown verb %s; the flags of a verb go after it", arg)
	}
	return fmt.Errorf("unknown verb %s", arg)
}

func (v Verb) refuse(arg string) error {
	if !strings.HasPrefix(arg, "-") {
		return fmt.Errorf("unexpected argument %s", arg)
	}
	names := make([]string, len(v.Flags))
	for i, f := range v.Flags {
		names[i] = f.arg()
	}
	if near := Nearest(arg, names); near != "" {
		return fmt.Errorf("%s takes no %s; did you mean %s?", v.Name, arg, near)
	}
	return fmt.Errorf("%s takes no %s; flags of the program go before the verb", v.Name, arg)
}

// Usage returns the usage of a program with that name: one line for each verb and each flag. A flag
// of more than two verbs has only one line, at the end.
func (t Table) Usage(program string) string {
	verbsOf := map[Flag]int{}
	for _, v := range t {
		for _, f := range v.Flags {
			verbsOf[f]++
		}
	}
	var b strings.Builder
	line := func(what, does string) { fmt.Fprintf(&b, "  %-14s  %s\n", what, does) }
	fmt.Fprintf(&b, "usage: %s [flags] VERB\n", program)
	var common []Flag
	for _, v := range t {
		line(v.Name, v.Short)
		for _, f := range v.Flags {
			switch {
			case verbsOf[f] <= 2:
				line(v.Name+" "+f.arg(), f.Short)
			case !slices.Contains(common, f):
				common = append(common, f)
			}
		}
	}
	for _, f := range common {
		line("VERB "+f.arg(), f.Short)
	}
	return b.String()
}
