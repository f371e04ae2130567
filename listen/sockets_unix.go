//go:build unix

package listen

import (
	"os"
	"syscall"
)

// inherited returns a descriptor that the process was started with, which its
// own children shall not have, and which network it listens on.
func inherited(descriptor int, name string) (f *os.File, network string) {
	syscall.CloseOnExec(descriptor)
	kind, err := syscall.GetsockoptInt(descriptor, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err == nil && kind == syscall.SOCK_DGRAM {
		network = "udp"
	}
	if err == nil && kind == syscall.SOCK_STREAM {
		if listening, err := syscall.GetsockoptInt(descriptor, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN); err != nil || listening != 0 {
			network = "tcp"
		}
	}
	if err != nil {
		_ = syscall.SetNonblock(descriptor, true) // a pipe, whose reader can then be interrupted
	}
	return os.NewFile(uintptr(descriptor), name), network
}
