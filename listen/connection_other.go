//go:build !linux

package listen

import "net"

// tune has nothing to adjust.
func tune(net.Conn) {}
