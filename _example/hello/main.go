// Hello logs a greeting and then waits until it is stopped. Try `hello run`, and in a second shell
// `hello status` and `hello stop`. A second `hello run` in the same directory fails.
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
