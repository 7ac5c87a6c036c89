// Hello says so every second until it is told to stop. Try `hello run`, and from a second shell `hello status` and
// `hello stop`; a second `hello run` in the same directory is refused.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"example.com/lifecycle"
)

func main() {
	os.Exit(lifecycle.Main(os.Args[1:], nil, lifecycle.PIDFile("hello.pid"), lifecycle.Every(time.Second, hello)))
}

func hello(context.Context) error {
	_, err := fmt.Println("hello, world")
	return err
}
