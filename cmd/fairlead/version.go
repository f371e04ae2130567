package main

import (
	"fmt"
	"runtime"

	"github.com/fairlead-edge/fairlead/daemon"
)

type versionCommand struct{}

// Run prints the version, and what it was built with and for.
func (*versionCommand) Run(t terminal) error {
	_, err := fmt.Fprintf(t.out, "fairlead %s %s %s/%s\n", daemon.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
