package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

// binary is the program that the faults are played against, built once by TestMain,
// without the race detector: a file descriptor is all that some of it must hold.
var binary string

func TestMain(m *testing.M) {
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
		os.Exit(1)
	}
	leak.Main(m)
}

func build() (err error) {
	if binary, err = filepath.Abs("../../bin/fairlead-drill"); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/fairlead")
	cmd.Dir = "../.." // the program is built with its own module's versions
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build cmd/fairlead: %w\n%s", err, out)
	}
	return nil
}
