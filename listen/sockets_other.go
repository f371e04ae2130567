//go:build !unix

package listen

import "os"

// inherited is of systems that start processes with descriptors.
func inherited(descriptor int, name string) (f *os.File, network string) {
	return os.NewFile(uintptr(descriptor), name), ""
}
