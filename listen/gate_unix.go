//go:build unix

package listen

import "syscall"

// descriptors returns how many files the process may have open.
func descriptors() (uint64, bool) {
	var l syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
	return uint64(l.Cur), err == nil //nolint:gosec,unconvert // signed on some systems, and never negative
}
