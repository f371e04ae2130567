package proxy

import (
	"syscall"
	"unsafe"
)

// unsent returns how many bytes the kernel holds and has not sent; -1: c is
// closed, or no socket of TCP.
func unsent(c syscall.RawConn) int {
	const siocOutqNSD = 0x894b // <linux/sockios.h>
	n := int32(-1)
	err := c.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, siocOutqNSD, uintptr(unsafe.Pointer(&n))) //nolint:gosec // ioctl(2) takes a pointer
		if errno != 0 {
			n = -1
		}
	})
	if err != nil {
		return -1
	}
	return int(n)
}
