// Command empty shows the cost of the smallest Go program. With an argument, it waits for a signal
// to end it.
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
