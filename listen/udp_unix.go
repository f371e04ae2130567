//go:build unix

package listen

import "syscall"

// bufferSizes returns the sizes of a socket's buffers as the system counts them.
func bufferSizes(raw syscall.RawConn) (receive, send int, ok bool) {
	var errReceive, errSend error
	err := raw.Control(func(fd uintptr) {
		receive, errReceive = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
		send, errSend = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
	})
	return receive, send, err == nil && errReceive == nil && errSend == nil
}
