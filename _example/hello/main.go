// Hello says so and then lives until it is told to stop. Try `hello run`, and from a second shell `hello status` and
// `hello stop`; a second `hello run` in the same directory is refused.
package main

import (
	"context"
	"os"

	"example.com/lifecycle"
)

func main() {
	os.Exit(lifecycle.Main(os.Args[1:], nil, lifecycle.PIDFile("hello.pid"), lifecycle.OnStart(hello)))
}

func hello(context.Context) error { _, err := os.Stdout.WriteString("hello, world\n"); return err }
