//go:build !unix

package daemon

import "os"

// restart is a signal that never comes: descriptors cannot be handed on here.
var restart os.Signal
