// Package docs contains the tests of the pages, of the README and of the programs in _example. The
// tests run in the root directory of the module.
package docs

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if err := os.Chdir(".."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
