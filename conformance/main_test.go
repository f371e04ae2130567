package conformance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

// binary is the program under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
	leak.Main(m)
}

// build makes the program with the race detector, so that a data race that a
// foreign client provokes fails its test.
func build() (err error) {
	if binary, err = filepath.Abs("../bin/fairlead-race"); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-race", "-o", binary, "./cmd/fairlead")
	cmd.Dir = ".." // the program is built with its own module's versions
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("build cmd/fairlead: %w\n%s", err, out)
	}
	return nil
}
