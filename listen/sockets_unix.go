//go:build unix

package listen

import (
	"errors"
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

// duplicate returns another descriptor of a socket. That of its File method is
// none to hand on: a process that is started with it makes the socket blocking,
// for this one too, whose Accept then cannot be interrupted.
func duplicate(socket syscall.Conn, name string) (*os.File, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	descriptor, failed := -1, error(nil)
	err = raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock() // no child is started in between
		defer syscall.ForkLock.RUnlock()
		if descriptor, failed = syscall.Dup(int(fd)); failed == nil {
			syscall.CloseOnExec(descriptor)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(descriptor), name), nil
}
