package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fairlead-edge/fairlead/internal/leak"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "fairlead" { // a script runs us
		os.Exit(runInterruptible(os.Args[1:], terminal{os.Stdin, os.Stdout, os.Stderr}))
	}
	leak.Main(m)
}

// TestScripts runs what stands in testdata: command lines, what they print and
// how they exit.
func TestScripts(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "fairlead")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "await": await, "get": get,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return nil
		},
	})
}
