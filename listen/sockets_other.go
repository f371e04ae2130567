//go:build !unix

package listen

import (
	"errors"
	"os"
	"syscall"
)

// inherited is of systems that start processes with descriptors.
func inherited(descriptor int, name string) (f *os.File, network string) {
	return os.NewFile(uintptr(descriptor), name), ""
}

func duplicate(syscall.Conn, string) (*os.File, error) { return nil, errors.ErrUnsupported }
