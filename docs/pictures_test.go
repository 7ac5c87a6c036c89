package docs

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// Parts of the pages are made from the code: "make docs" writes them, with LIFECYCLE_UPDATE set, and without it these tests compare.

// update says that what is made from the code is to be written and not compared.
func update() bool { return os.Getenv("LIFECYCLE_UPDATE") != "" }

func TestThePicturesAreThoseOfTheirTexts(t *testing.T) {
	args := []string{"-C", "tools", "run", "./svg", "-check", "../docs/pictures"}
	if update() {
		args = []string{"-C", "tools", "run", "./svg", "../docs/pictures"}
	}
	out, err := exec.Command("go", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
