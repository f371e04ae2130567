package deliver

import (
	"testing"
	"unsafe"
)

func TestASessionIsSmall(t *testing.T) {
	t.Parallel()
	// The sizes in which Go's allocator gives memory.
	if size := unsafe.Sizeof(stream{}); size > 240 {
		t.Errorf("a stream has %d bytes", size)
	}
	if size := unsafe.Sizeof(socket{}); size > 320 {
		t.Errorf("a socket has %d bytes", size)
	}
	t.Log(unsafe.Sizeof(session{}), unsafe.Sizeof(stream{}), unsafe.Sizeof(socket{}))
}
