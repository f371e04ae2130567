package listen

import (
	"testing"
	"unsafe"
)

func TestALeaseIsSmall(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(Lease{}); size > 40 {
		t.Errorf("%d bytes", size)
	}
}
