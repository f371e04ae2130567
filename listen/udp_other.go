//go:build !unix

package listen

import "syscall"

// bufferSizes says that it does not know.
func bufferSizes(syscall.RawConn) (receive, send int, ok bool) { return 0, 0, false }
