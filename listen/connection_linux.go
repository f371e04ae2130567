package listen

import (
	"net"
	"syscall"
)

// What was written and not sent waits in the kernel, where nothing overtakes it.
// Beyond this much of it a writer waits (TCP_NOTSENT_LOWAT), and what is more
// urgent comes first; so much is sent in 10 ms at 100 Mbit/s. What was sent and
// not acknowledged does not count, so that throughput does not suffer.
const unsent = 128 << 10

const tcpNotsentLowat = 25 // TCP_NOTSENT_LOWAT of linux/tcp.h, which package syscall does not name

// tune adjusts a TCP connection. If it cannot be, it is as good without.
func tune(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotsentLowat, unsent)
	})
}
