//go:build !linux || !(amd64 || arm64)

package upstream

import (
	"syscall"
	"time"
)

func silent(uintptr) bool { return true }

func setUserTimeout(uintptr, time.Duration) {}

func provable(syscall.RawConn) (acked uint64, ok bool) { return 0, false }

func look(syscall.RawConn, uint64) peerState { return peerOpen }

func refused(syscall.RawConn, uint64) (final, proven bool) { return false, false }
