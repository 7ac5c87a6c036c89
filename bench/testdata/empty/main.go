// Command empty is what the least Go program costs. With an argument it waits for the signal that ends it.
package main

import (
	"math"
	"os"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		time.Sleep(math.MaxInt64)
	}
}
