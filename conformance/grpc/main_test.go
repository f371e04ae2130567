package main_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// fairlead and command are the programs under test, built once by TestMain. They are
// without the race detector: what the suites find is on the wire.
var fairlead, command string

func TestMain(m *testing.M) {
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
	leak.Main(m)
}

func build() (err error) {
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		return err
	}
	fairlead, command = filepath.Join(dir, "fairlead-suites"), filepath.Join(dir, "grpc")
	for _, b := range []struct{ program, dir, pkg string }{{fairlead, "../..", "./cmd/fairlead"}, {command, ".", "."}} {
		cmd := exec.Command("go", "build", "-o", b.program, b.pkg)
		cmd.Dir = b.dir // each is built with its own module's versions
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", b.pkg, err, out)
		}
	}
	return nil
}

// tool returns the path of a program that ci/tools installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../../.tools/" + name)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%s is not installed (%v): run ci/tools", name, err)
	}
	return path
}

// start runs a program until the test ends.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // of SIGTERM
		late.Stop()
	})
}

// finish runs a program that ends by itself, and returns what it wrote; it is ended
// after limit.
func finish(t *testing.T, limit time.Duration, cmd *exec.Cmd) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(limit, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer late.Stop()
	err := cmd.Wait()
	return out.String(), err
}
