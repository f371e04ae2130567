//go:build unix

package daemon

import (
	"os"
	"syscall"
)

// restart is the signal that starts a hand-over.
var restart os.Signal = syscall.SIGUSR2
