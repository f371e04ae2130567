//go:build !linux

package proxy

import "syscall"

// unsent returns -1: only Linux tells.
func unsent(syscall.RawConn) int { return -1 }
