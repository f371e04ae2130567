package listen

import (
	"testing"
	"unsafe"
)

func TestALeaseIsSmall(t *testing.T) {
	t.Parallel()
	const function = 16 // release
	if size := unsafe.Sizeof(lease{}) + function; size > 64 {
		t.Errorf("%d bytes", size)
	}
}
